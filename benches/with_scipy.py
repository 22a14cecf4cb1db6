"""The published way to fit the law, timed: SciPy's minimize with its defaults from 25 random starts.

    python3 benches/with_scipy.py t5-data.csv 0      # or vit-data.json; the seed of the starts

The notebook of google-research/jaxpruner (projects/bigsparse) minimises the mean Huber loss over
`a, b, c, d, e, f, g` of `(a (1-S)^b + c) n^-d + e x^-f + g`, with n = N / 1e6 and x = D / 1e5 steps
(T5) or D / 1e9 images (ViT). Prints the time that all starts took and the best objective as JSON.
"""

import os

# Before NumPy is loaded: one thread.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import csv
import json
import sys
import time

import numpy as np
import scipy
from scipy.optimize import minimize

STARTS = 25


def t5(path):
    """24 blocks of 12 d^2 parameters, d = 768 at scale 1; data in steps."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    sparsity, scale, steps, loss = (
        np.array([float(row[name]) for row in rows])
        for name in ("sparsity", "scale", "steps", "val-loss")
    )
    total = 24 * 12 * 768**2 * scale
    return 1 - sparsity, total * (1 - sparsity) / 1e6, steps / 1e5, loss


def vit(path):
    """12 blocks of 12 d^2 parameters, d = 768 at scale 1; data in images."""
    with open(path) as file:
        columns = json.load(file)
    sparsity, scale, images, loss = (
        np.array([columns[name][row] for row in columns["scale"]])
        for name in ("sparsity", "scale", "total_examples", "val-loss")
    )
    total = 12 * 12 * 768**2 * scale
    return 1 - sparsity, total * (1 - sparsity) / 1e6, images / 1e9, loss


def mean_huber(runs, residual, delta):
    """The objective, as a function of the seven parameters."""
    density, n, x, measured = runs

    def objective(parameters):
        a, b, c, d, e, f, g = parameters
        predicted = (a * density**b + c) * n**-d + e * x**-f + g
        size = np.abs(residual(predicted, measured))
        return np.mean(np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta)))

    return objective


def main(path, seed):
    if path.endswith(".json"):
        objective = mean_huber(vit(path), lambda f, loss: f - loss, 1e-2)
    else:
        objective = mean_huber(t5(path), lambda f, loss: np.log(f) - np.log(loss), 1e-3)
    starts = np.random.default_rng(int(seed)).uniform(size=(STARTS, 7))
    np.seterr(all="ignore")
    begin, cpu_begin = time.perf_counter(), time.process_time()
    ends = [minimize(objective, start) for start in starts]
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    print(json.dumps({
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "objective": float(min(end.fun for end in ends if np.isfinite(end.fun))),
        "starts": STARTS,
        "evaluations": sum(end.nfev for end in ends),
        "scipy": scipy.__version__,
        "numpy": np.__version__,
    }))


if __name__ == "__main__":
    main(*sys.argv[1:])
