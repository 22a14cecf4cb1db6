"""References for tests/reference/forms.rs, computed independently of the service's formulas.

    pip install numpy==2.4.6 scipy==1.17.1
    python3 tests/reference/forms.py > tests/reference/forms.json

Optimal sparsities of laws with a borrowed gain, of laws that count mean parameters, and of repeated data: golden
sections inside every cell of a fine grid that holds a minimum, the best of them. Fits of the forms to synthetic runs:
BFGS with a gradient from many starts, through falling deltas, the best few finished by Nelder-Mead.
"""

import itertools
import json

import numpy as np
from scipy import optimize

GOLDEN = (5**0.5 - 1) / 2
LENDERS = {
    "t5-c4": {"a_s": 16.787050107077444, "b_s": 0.72161276, "c_s": 45.01844735112024, "b_n": 0.24513173},
    "vit-jft": {"a_s": 294.39, "b_s": 0.821013, "c_s": 468.157, "b_n": 0.392227},
}


def gain(kind, s, lender, m):
    if kind == "borrowed":
        top = lender["a_s"] * (1 - s) ** lender["b_s"] + lender["c_s"]
        return (top / (lender["a_s"] + lender["c_s"])) ** (-1 / lender["b_n"])
    return (1 - m * s) / (1 - s)


def effective(d, unique, decay):
    if unique is None or d <= unique:
        return d
    return unique + unique * decay * (1 - np.exp(-(d / unique - 1) / decay))


def optima(rng):
    rows = []
    for index in range(60):
        kind = ["borrowed", "average_params"][index % 2]
        lender = LENDERS[["t5-c4", "vit-jft"][(index // 2) % 2]]
        c = {"a": rng.uniform(50, 600), "b_n": rng.uniform(0.2, 0.45), "a_d": 10 ** rng.uniform(7, 10),
             "b_d": rng.uniform(0.2, 0.7), "c": rng.uniform(0.3, 2)}
        n = 10 ** rng.uniform(7, 10)
        mode = ["dense", "sparse"][(index // 4) % 2]
        m = 0.625
        compute = 6 * n * n * 10 ** rng.uniform(0.3, 3)
        unique = None if index % 3 else 10 ** rng.uniform(8, 10)

        def loss(y, c=c, n=n, compute=compute, mode=mode, kind=kind, lender=lender, unique=unique):
            s = -np.expm1(-y)
            multiplier = (1 - (m if mode == "sparse" else 0) * s) / (1 - s)
            d = effective(compute / (6 * n * multiplier), unique, 15.39)
            return c["a"] * (gain(kind, s, lender, m) * n) ** -c["b_n"] + (c["a_d"] / d) ** c["b_d"] + c["c"]

        grid = np.arange(0, 14, 0.005)
        values = [loss(y) for y in grid]
        best = (values[0], 0.0)
        for i in range(1, len(grid) - 1):
            if values[i] <= values[i - 1] and values[i] <= values[i + 1]:
                low, high = grid[i - 1], grid[i + 1]
                for _ in range(200):
                    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
                    if loss(a) < loss(b):
                        high = b
                    else:
                        low = a
                best = min(best, (loss((low + high) / 2), (low + high) / 2))
        rows.append({"kind": kind, "lender": lender, "coefficients": c, "nonzero_params": n, "compute": compute,
                     "flop_mode": mode, "unique_data": unique, "sparsity": float(-np.expm1(-best[1])), "loss": float(best[0])})
    return rows


def expert_optima(rng):
    """Best sparsities of laws of experts: golden sections about the least point of a fine grid."""
    rows = []
    for index in range(40):
        c = {"e": rng.uniform(0.3, 1.5), "a": 10 ** rng.uniform(2, 4.5), "alpha": rng.uniform(0.3, 0.65),
             "b": 10 ** rng.uniform(3, 4), "beta": rng.uniform(0.3, 0.45), "c": rng.uniform(0.1, 1),
             "lambda": rng.uniform(-0.3, 0.1), "d": rng.uniform(5, 30), "delta": rng.uniform(-0.2, 0.3),
             "gamma": rng.uniform(0.1, 0.25)}
        n = 10 ** rng.uniform(7, 10)
        mode = ["dense", "sparse"][index % 2]
        m = {"dense": 0, "sparse": 0.625}[mode]
        compute = 120 * n * n * 10 ** rng.uniform(-4, 2.5)
        unique = None if index % 4 else 10 ** rng.uniform(8, 10)
        most = None if index % 3 else rng.uniform(0.1, 0.9)

        def loss(y, c=c, n=n, compute=compute, m=m, unique=unique):
            x = np.exp(-y)
            d = effective(compute * x / (6 * n * (1 - m * (1 - x))), unique, 15.39)
            return (c["e"] + c["a"] * (n / x) ** -c["alpha"] + c["b"] * d ** -c["beta"] + c["c"] * x ** -c["lambda"]
                    + c["d"] * x ** -c["delta"] * (n / x) ** -c["gamma"])

        end = 14 if most is None else -np.log1p(-most)
        grid = np.linspace(0, end, 5001)
        values = [loss(y) for y in grid]
        i = int(np.argmin(values))
        low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
        for _ in range(200):
            a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
            if loss(a) <= loss(b):
                high = b
            else:
                low = a
        y = (low + high) / 2
        # The ends themselves, which the sections only approach.
        y = min([y, 0.0, end], key=loss)
        rows.append({"coefficients": c, "nonzero_params": n, "compute": compute, "flop_mode": mode, "unique_data": unique,
                     "max_sparsity": most, "sparsity": float(-np.expm1(-y)), "loss": float(loss(y))})
    return rows


def digits(value, count):
    return float(f"{value:.{count}g}")


def terms(form, p, x, n, d, level, levels):
    """The loss and its slopes by the coordinates, in normalised units."""
    zero = np.zeros_like(n)
    ln_n, ln_d, ln_x = np.log(n), np.log(d), np.log(x)
    if form == "experts":
        la, lal, lb, lbe, lc, lam, ld, dlt, lga, le = p
        alpha, beta, gamma = np.exp(lal), np.exp(lbe), np.exp(lga)
        t = ln_n - ln_x
        size, data = np.exp(la - alpha * t), np.exp(lb - beta * ln_d)
        density, both = np.exp(lc - lam * ln_x), np.exp(ld - dlt * ln_x - gamma * t)
        e = np.exp(le) + zero
        return size + data + density + both + e, [
            size, -size * alpha * t, data, -data * beta * ln_d, density, -density * ln_x, both, -both * ln_x, -both * gamma * t, e]
    count = levels if form == "levels" else 1
    lbn, le, lbd, lc = p[count:]
    bn, bd = np.exp(lbn), np.exp(lbd)
    size = ln_n + (np.log(1 - 0.625 * (1 - x)) - ln_x if form == "average_params" else 0)
    first = level if form == "levels" else np.zeros_like(level)
    capacity = np.exp(np.asarray(p)[first] - bn * size)
    data, c = np.exp(le - bd * ln_d), np.exp(lc) + zero
    slopes = [np.where(first == j, capacity, 0.0) for j in range(count)]
    return capacity + data + c, [*slopes, -capacity * bn * size, data, -data * bd * ln_d, c]


def least(form, runs, delta, rng):
    n, s, d, l = np.array(runs).T
    n, d, l = (v / np.exp(np.log(v).mean()) for v in (n, d, l))
    x = 1 - s
    densities = sorted(set(x), reverse=True)
    level = np.array([densities.index(v) for v in x])
    signed = {5, 7} if form == "experts" else set()
    free = 10 if form == "experts" else (len(densities) if form == "levels" else 1) + 4
    exponents = {1, 3, 8} if form == "experts" else {free - 4, free - 2}
    box = np.array([(-4, 4) if i in signed else (-6.9, 3) if i in exponents else (-30, 30) for i in range(free)])

    def objective(p, delta):
        q = np.clip(p, box[:, 0], box[:, 1])
        f, slopes = terms(form, q, x, n, d, level, len(densities))
        r = np.log(f / l)
        u = np.abs(r) / delta
        value = np.mean(np.where(u <= 1, u * u / 2, u - 0.5))
        gradient = (np.array(slopes) / f) @ np.clip(r / delta, -1, 1) / delta / len(l)
        return float(value), np.where(q == p, gradient, 0.0)

    ends = []
    for _ in range(30):
        p = np.array([rng.uniform(-0.5, 0.5) if i in signed else rng.uniform(-3, 0.3) if i in exponents else rng.uniform(-2, -1)
                      for i in range(free)])
        for factor in [1e4, 1e3, 100, 10, 3, 1]:
            if delta * factor < 2:
                p = optimize.minimize(objective, p, (delta * factor,), "BFGS", jac=True, options={"gtol": 1e-10, "maxiter": 2000}).x
        ends.append((objective(p, delta)[0], list(p)))
    ends.sort()
    best = ends[0][0]
    for _, start in ends[:3]:
        options = {"maxiter": 6000, "maxfev": 6000, "xatol": 1e-12, "fatol": 1e-15}
        start = optimize.minimize(lambda p: objective(p, delta)[0], start, method="Nelder-Mead", options=options).x
        start = optimize.minimize(objective, start, (delta,), "BFGS", jac=True, options={"gtol": 1e-10, "maxiter": 2000}).x
        best = min(best, objective(start, delta)[0])
    return best * delta**2


def fits():
    sizes, zeros, data = np.geomspace(1e6, 64e6, 4), [0.0, 0.5, 0.75, 0.875], np.geomspace(5e8, 5e10, 4)
    for index, noise in enumerate([0.002, 0.01]):
        rng = np.random.default_rng([2502, index])
        runs = []
        for n, s, d in itertools.product(sizes, zeros, data):
            f = (16.7871 * (1 - s) ** 0.721613 + 45.0184) * n**-0.245132 + (6.8999e8 / d) ** 0.4 + 0.65
            runs.append([digits(n, 7), s, digits(d, 7), digits(f * np.exp(noise * rng.standard_normal()), 7)])
        for delta in [1e-3, 1e-2]:
            objectives = {form: least(form, runs, delta, rng) for form in ["levels", "average_params", "experts"]}
            yield {"noise": noise, "delta": delta, "runs": runs, "objectives": objectives}


if __name__ == "__main__":
    np.seterr(all="ignore")
    rows = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in optima(np.random.default_rng(2404)))
    cases = ",\n".join("  " + json.dumps(case, separators=(",", ":")) for case in fits())
    experts = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in expert_optima(np.random.default_rng(2501)))
    print('{\n "optima": [\n' + rows + '\n ],\n "experts": [\n' + experts + '\n ],\n "fits": [\n' + cases + "\n ]\n}")
