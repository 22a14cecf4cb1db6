"""References for tests/reference/main.rs, computed independently of the service's formulas.

    pip install numpy==2.4.6 scipy==1.17.1
    python3 tests/reference/reference.py > tests/reference/reference.json

Optimal sparsity by minimising the loss numerically over S; the fit of the demo's runs by SciPy's BFGS
from many starts on the plain objective; the fits of synthetic runs by BFGS with a gradient, through
falling deltas, the best few finished by Nelder-Mead.
"""

import itertools
import json
import pathlib

import numpy as np
from scipy import optimize

HERE = pathlib.Path(__file__).parent


def loss(c, s, n, d):
    return (c["a_s"] * (1 - s) ** c["b_s"] + c["c_s"]) * n ** -c["b_n"] + (c["a_d"] / d) ** c["b_d"] + c["c"]


def optima(rng):
    """Random laws and questions; S from a golden-section search inside the best cell of a grid."""
    rows = []
    while len(rows) < 40:
        c = {
            "a_s": rng.uniform(5, 400), "b_s": rng.uniform(0.3, 1.5), "c_s": rng.uniform(10, 500),
            "b_n": rng.uniform(0.15, 0.45), "a_d": 10 ** rng.uniform(7, 10),
            "b_d": rng.uniform(0.15, 1.3), "c": rng.uniform(0.3, 5),
        }
        start, end, exponent = rng.uniform(0, 0.4), rng.uniform(0.5, 1), rng.uniform(0.5, 5)
        n, compute, k = 10 ** rng.uniform(6, 10), 10 ** rng.uniform(16, 24), rng.choice([2.0, 6.0])
        mode = str(rng.choice(["dense", "sparse"]))
        progress = (np.arange(20000) + 0.5) / 20000
        ramp = np.clip((progress - start) / (end - start), 0, 1)
        share = float(np.mean(1 - (1 - ramp) ** exponent))

        def at(s):
            saved = share * s if mode == "sparse" else 0.0
            return loss(c, s, n, compute / (k * n * (1 - saved) / (1 - s)))

        grid = 1 - np.geomspace(1, 1e-6, 4001)
        best = int(np.argmin([at(s) for s in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        found = optimize.minimize_scalar(at, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
        s = 0.0 if at(0.0) <= found.fun else float(found.x)
        rows.append({
            "coefficients": c, "pruning": [start, end, exponent], "flops_per_param": float(k),
            "nonzero_params": n, "compute": compute, "flop_mode": mode, "sparsity": s,
            "loss": float(min(found.fun, at(0.0))),
        })
    return rows


def fits(rng):
    """The demo's runs, with both residuals: least mean Huber loss of 60 BFGS descents."""
    runs = json.loads((HERE / "../../../../examples/demo-runs.json").read_text())
    x, n, d, l = (np.array(v) for v in zip(*((1 - r["sparsity"], r["nonzero_params"], r["data"], r["loss"]) for r in runs)))
    n0, d0 = np.exp(np.log(n).mean()), np.exp(np.log(d).mean())
    rows = []
    for residual, delta in [("log", 1e-3), ("linear", 1e-2)]:
        def objective(p):
            a, bs, cs, bn, e, bd, c = np.exp(np.clip(p, -30, 30))
            f = (a * x**bs + cs) * (n / n0) ** -bn + e * (d / d0) ** -bd + c
            r = np.abs(np.log(f / l) if residual == "log" else f - l)
            return float(np.mean(np.where(r <= delta, r * r / 2, delta * (r - delta / 2)))) / delta**2

        best = np.inf
        for _ in range(60):
            p = np.log([1, 1, 1, 0.3, 0.5, 0.3, 0.5]) + rng.uniform(-1, 1, 7)
            for method in ["BFGS", "Nelder-Mead", "BFGS"]:
                options = {"maxiter": 20000, "maxfev": 20000, "xatol": 1e-12, "fatol": 1e-15} if method == "Nelder-Mead" else {"gtol": 1e-9}
                p = optimize.minimize(objective, p, method=method, options=options).x
            best = min(best, objective(p))
        rows.append({"residual": residual, "delta": delta, "objective": best * delta**2})
    return rows


LAWS = {
    "t5": {"a_s": 16.7871, "b_s": 0.721613, "c_s": 45.0184, "b_n": 0.245132, "a_d": 6.8999e8, "b_d": 0.202708, "c": 0.650742},
    "vit": {"a_s": 294.390, "b_s": 0.821013, "c_s": 468.157, "b_n": 0.392227, "a_d": 2.37413e8, "b_d": 0.889790, "c": 4.516693},
}
# Bounds of amplitudes and exponents in the service's search; laws outside them are not comparable.
BOX = np.array([(-30, 30), np.log((1e-3, 20))] * 3 + [(-30, 30)])


def digits(value, count):
    """Both sides read the same numbers, so they are rounded before anything is computed from them."""
    return float(f"{value:.{count}g}")


def design(name, rng):
    if name == "factorial":
        sizes, zeros, data = np.geomspace(1e6, 64e6, 4), [0.0, 0.5, 0.75, 0.875], np.geomspace(5e8, 5e10, 4)
        return list(itertools.product(sizes, zeros, data))
    if name == "sparse":  # Each size occurs about once with each sparsity and with each amount of data.
        sizes, zeros, data = np.geomspace(1e6, 64e6, 4), [0.0, 0.5, 0.75, 0.875], np.geomspace(5e8, 5e10, 3)
        return [(sizes[i % 4], zeros[(i + i // 4) % 4], data[(i + i // 4 + i // 6) % 3]) for i in range(12)]
    return [(10 ** rng.uniform(6, 8), rng.uniform(0, 0.95), 10 ** rng.uniform(8.5, 11)) for _ in range(40)]


def least(runs, residual, delta, rng):
    """Least mean Huber loss, and its coefficients in raw units, in the order of the law."""
    n, s, d, l = np.array(runs).T
    n0, d0, l0 = (np.exp(np.log(v).mean()) for v in (n, d, l))
    ln_n, ln_x, ln_d = np.log(n / n0), np.log1p(-s), np.log(d / d0)

    def objective(p, delta):
        q = np.clip(p, BOX[:, 0], BOX[:, 1])
        a, bs, cs, bn, e, bd, c = np.exp(q)
        size, data = np.exp(-bn * ln_n), e * np.exp(-bd * ln_d)
        sparse, rest = a * np.exp(bs * ln_x) * size, cs * size
        f = sparse + rest + data + c
        slopes = np.array([sparse, sparse * bs * ln_x, rest, -(sparse + rest) * bn * ln_n, data, -data * bd * ln_d, c + 0 * f])
        if residual == "log":
            r, slopes = np.log(f * l0 / l), slopes / f
        else:
            r, slopes = f * l0 - l, slopes * l0
        u = np.abs(r) / delta
        value = np.mean(np.where(u <= 1, u * u / 2, u - 0.5))
        gradient = slopes @ np.clip(r / delta, -1, 1) / delta / len(l)
        return float(value), np.where(q == p, gradient, 0.0)

    def bfgs(p, delta):
        return optimize.minimize(objective, p, (delta,), "BFGS", jac=True, options={"gtol": 1e-10, "maxiter": 1000}).x

    ends = []
    for _ in range(24):
        p = np.log([0.3, 1, 0.3, 0.3, 0.3, 0.3, 0.3]) + rng.uniform(-1, 1, 7) * [1, 1, 1, 1.2, 1, 1.2, 1]
        for factor in [1e5, 1e4, 1e3, 100, 10, 1]:
            if delta * factor < 2:
                p = bfgs(p, delta * factor)
        ends.append((objective(p, delta)[0], list(p)))
    ends.sort()
    best, p = ends[0]
    for _, start in ends[:3]:
        for _ in range(2):
            options = {"maxiter": 4000, "maxfev": 4000, "xatol": 1e-12, "fatol": 1e-15}
            start = optimize.minimize(lambda p: objective(p, delta)[0], start, method="Nelder-Mead", options=options).x
            start = bfgs(start, delta)
        if objective(start, delta)[0] < best:
            best, p = objective(start, delta)[0], start
    a, bs, cs, bn, e, bd, c = np.exp(np.clip(p, BOX[:, 0], BOX[:, 1]))
    raw = [a * l0 * n0**bn, bs, cs * l0 * n0**bn, bn, d0 * (l0 * e) ** (1 / bd), bd, c * l0]
    return best * delta**2, [digits(v, 9) for v in raw]


def synthetic():
    """Runs of known truth by noise, design and share of outliers, fitted with both residuals."""
    cases = itertools.product([0.0, 0.002, 0.01, 0.05], ["factorial", "sparse", "random"], [0.0, 0.05, 0.2])
    for index, (noise, name, outliers) in enumerate(cases):
        rng = np.random.default_rng([2309, index])
        law = ["t5", "vit"][index % 2]
        runs = [(digits(n, 7), digits(s, 5), digits(d, 7)) for n, s, d in design(name, rng)]
        off = np.zeros(len(runs))
        wrong = rng.choice(len(runs), round(outliers * len(runs)), replace=False)
        off[wrong] = np.log(rng.choice([0.7, 1.3], len(wrong)))
        losses = [loss(LAWS[law], s, n, d) * np.exp(noise * rng.standard_normal() + o) for (n, s, d), o in zip(runs, off)]
        runs = [[*run, digits(l, 11 if noise == 0 else 6)] for run, l in zip(runs, losses)]
        # Without noise, a delta as small as the rounding of the losses keeps outliers from bending the law.
        deltas = (1e-6, 1e-6) if noise == 0 else (1e-3, 1e-2)
        fits = []
        for residual, delta in zip(["log", "linear"], deltas):
            objective, coefficients = least(runs, residual, delta, rng)
            fits.append({"residual": residual, "delta": delta, "objective": objective, "coefficients": coefficients})
        yield {"noise": noise, "design": name, "outliers": outliers, "truth": list(LAWS[law].values()), "runs": runs, "fits": fits}


if __name__ == "__main__":
    np.seterr(all="ignore")
    rng = np.random.default_rng(2309)
    text = json.dumps({"optima": optima(rng), "fits": fits(rng)}, indent=1)
    cases = ",\n".join("  " + json.dumps(case, separators=(",", ":")) for case in synthetic())
    print(text.removesuffix("\n}") + ',\n "synthetic": [\n' + cases + "\n ]\n}")
