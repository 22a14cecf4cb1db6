"""What a frame of 100,000 rows with intervals costs by the Python client: seconds, and CPU seconds of the client.

    python3 benches/frame.py BASE      the address of a service with the family demo

Asks three times for best sparsities and for predictions. Needs pandas, pyarrow and the client; PYTHONPATH chooses another one.
"""

import random
import sys
import time

import pandas as pd
from sparsity_planner import Planner

ROWS, ROUNDS = 100_000, 3


def main():
    draw = random.Random(1)
    sizes = [10 ** draw.uniform(6, 10) for _ in range(ROWS)]
    budgets = pd.DataFrame({"nonzero_params": sizes, "compute": [10 ** draw.uniform(17, 23) for _ in range(ROWS)]})
    models = pd.DataFrame({
        "nonzero_params": sizes,
        "sparsity": [draw.uniform(0, 0.95) for _ in range(ROWS)],
        "data": [10 ** draw.uniform(9, 12) for _ in range(ROWS)],
    })
    with Planner(sys.argv[1]) as planner:
        family = planner.family("demo")
        for _ in range(ROUNDS):
            for name, ask in (
                ("best sparsities", lambda: family.optimal_sparsities(budgets, "sparse")),
                ("predictions", lambda: family.predictions(models)),
            ):
                since, cpu = time.monotonic(), time.process_time()
                rows = len(ask())
                print(f"{name}: {rows:,} rows in {time.monotonic() - since:.2f} s, client {time.process_time() - cpu:.2f} s of CPU")


if len(sys.argv) != 2:
    sys.exit(__doc__)
main()
