"""The same question in FastAPI and SciPy: a law as the notebook writes it, and a bounded search.

Run by over_http.py under uvicorn.
"""

from fastapi import FastAPI
from scipy.optimize import minimize_scalar

app = FastAPI()

A_S, B_S, C_S, B_N = 16.7871, 0.721613, 45.0184, 0.245132
A_D, B_D, C = 6.8999e8, 0.202708, 0.650742


def loss(sparsity: float, size: float, data: float) -> float:
    return (A_S * (1 - sparsity) ** B_S + C_S) * size**-B_N + (A_D / data) ** B_D + C


def data(sparsity: float, size: float, compute: float, flop_mode: str) -> float:
    saved = 0.625 if flop_mode == "sparse" else 0.0
    return compute * (1 - sparsity) / (6 * size * (1 - saved * sparsity))


@app.get("/v1/families/{family}/optimal-sparsity")
def optimal_sparsity(family: str, nonzero_params: float, compute: float, flop_mode: str, intervals: bool = False):
    def at(sparsity: float) -> float:
        return loss(sparsity, nonzero_params, data(sparsity, nonzero_params, compute, flop_mode))

    best = minimize_scalar(at, bounds=(0, 0.999), method="bounded", options={"xatol": 1e-9})
    return {
        "sparsity": best.x,
        "loss": best.fun,
        "data": data(best.x, nonzero_params, compute, flop_mode),
        "total_params": nonzero_params / (1 - best.x),
        "dense": {"loss": at(0.0), "data": data(0.0, nonzero_params, compute, flop_mode)},
    }


@app.get("/v1/families/{family}/prediction")
def prediction(family: str, nonzero_params: float, sparsity: float, data: float, intervals: bool = False):
    return {"loss": loss(sparsity, nonzero_params, data), "data": data}
