"""The same questions in FastAPI, SciPy and NumPy: a law as the notebook writes it, a bounded search for the best
sparsity, and intervals over a thousand resampled laws as vectors.

Run by over_http.py under uvicorn.
"""

import numpy as np
from fastapi import FastAPI
from scipy.optimize import minimize_scalar

app = FastAPI()

LAW = (16.7871, 0.721613, 45.0184, 0.245132, 6.8999e8, 0.202708, 0.650742)
SCATTER = np.random.default_rng(1).normal(0, [0.2, 0.2, 0.2, 0.05, 0.5, 0.1, 0.1], (1000, 7))
RESAMPLES = tuple((np.array(LAW) * np.exp(SCATTER)).T)


def loss(law, sparsity, size, data):
    a_s, b_s, c_s, b_n, a_d, b_d, c = law
    return (a_s * (1 - sparsity) ** b_s + c_s) * size**-b_n + (a_d / data) ** b_d + c


def saved(flop_mode: str) -> float:
    return 0.625 if flop_mode == "sparse" else 0.0


def data(sparsity, size: float, compute: float, m: float):
    return compute * (1 - sparsity) / (6 * size * (1 - m * sparsity))


def gain(law, sparsity):
    a_s, b_s, c_s, b_n, _, _, _ = law
    return ((a_s * (1 - sparsity) ** b_s + c_s) / (a_s + c_s)) ** (-1 / b_n)


def chinchilla_ratio(law, size: float, compute: float):
    a_s, _, c_s, b_n, a_d, b_d, _ = law
    return compute / (6 * size) / (a_d * (b_d * size**b_n / (b_n * (a_s + c_s))) ** (1 / b_d))


def best_sparsities(law, size: float, compute: float, m: float):
    """Newton's method for all laws at once."""
    a_s, b_s, _, b_n, a_d, b_d, _ = law
    start = np.log(1 - m) + np.log(b_d) + b_d * np.log(a_d * 6 * size / compute) + b_n * np.log(size)
    start = start - np.log(a_s * b_s)
    y = np.maximum(0, -start / (b_s + b_d))
    for _ in range(5):
        mx = m * np.exp(-y)
        kept = 1 - m + mx
        y = y - (start + (b_s + b_d) * y + (b_d - 1) * np.log(kept)) / (b_s + b_d - (b_d - 1) * mx / kept)
    return np.where(start < 0, 1 - np.exp(-y), 0)


def interval(values) -> dict:
    low, high = np.quantile(values, [0.0245, 0.9755])
    return {"level": 0.95, "low": float(low), "high": float(high)}


@app.get("/v1/families/{family}/optimal-sparsity")
def optimal_sparsity(family: str, nonzero_params: float, compute: float, flop_mode: str, intervals: bool = True):
    m = saved(flop_mode)

    def at(sparsity: float) -> float:
        return loss(LAW, sparsity, nonzero_params, data(sparsity, nonzero_params, compute, m))

    best = minimize_scalar(at, bounds=(0, 0.999), method="bounded", options={"xatol": 1e-9})
    sparsity, best_data = best.x, data(best.x, nonzero_params, compute, m)
    dense_data = data(0.0, nonzero_params, compute, m)
    answer = {
        "sparsity": sparsity,
        "loss": best.fun,
        "data": best_data,
        "total_params": nonzero_params / (1 - sparsity),
        "dense": {"loss": at(0.0), "data": dense_data},
        "gain": gain(LAW, sparsity),
        "chinchilla_ratio": chinchilla_ratio(LAW, nonzero_params, compute),
    }
    if intervals:
        answer["interval"] = interval(best_sparsities(RESAMPLES, nonzero_params, compute, m))
        answer["intervals"] = {
            "loss": interval(loss(RESAMPLES, sparsity, nonzero_params, best_data)),
            "dense_loss": interval(loss(RESAMPLES, 0.0, nonzero_params, dense_data)),
            "gain": interval(gain(RESAMPLES, sparsity)),
            "chinchilla_ratio": interval(chinchilla_ratio(RESAMPLES, nonzero_params, compute)),
        }
    return answer


@app.get("/v1/families/{family}/prediction")
def prediction(family: str, nonzero_params: float, sparsity: float, data: float, intervals: bool = True):
    answer = {"loss": loss(LAW, sparsity, nonzero_params, data), "data": data}
    if intervals:
        losses = loss(RESAMPLES, sparsity, nonzero_params, data)
        answer["interval"] = interval(losses)
        answer["prediction_interval"] = interval(losses * np.exp(0.005 * SCATTER[:, 0]))
    return answer
