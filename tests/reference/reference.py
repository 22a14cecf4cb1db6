"""References for tests/reference/main.rs, computed independently of the service's formulas.

    pip install numpy==2.4.6 scipy==1.17.1
    python3 tests/reference/reference.py > tests/reference/reference.json

Optimal sparsity by minimising the loss numerically over S; the fit by SciPy's BFGS from many starts
on the plain objective.
"""

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
    runs = json.loads((HERE / "../../examples/demo-runs.json").read_text())
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


if __name__ == "__main__":
    np.seterr(all="ignore")
    rng = np.random.default_rng(2309)
    print(json.dumps({"optima": optima(rng), "fits": fits(rng)}, indent=1))
