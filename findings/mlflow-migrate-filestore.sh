#!/usr/bin/env bash
# mlflow 3.17.2: `mlflow migrate-filestore`, which the error about the retired file store says "migrates your existing
# data losslessly", turns infinite metrics into 1.7976931348623157e308, and refuses a store in which one value was
# logged twice in the same millisecond.
#
# Seen: of a run whose loss is inf, the migrated database gives 1.7976931348623157e308, which is a finite number. With
# a metric logged twice with equal value, step and timestamp, which the file store accepts and reads, the command ends
# with an IntegrityError (UNIQUE constraint on metrics) and has migrated nothing. NaN arrives as NaN.
#
# Why it matters to whoever fits losses: a diverged run becomes a run with a finite loss.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1
export MLFLOW_ALLOW_FILE_STORE=true
"$folder/venv/bin/python" - "$folder" >/dev/null 2>&1 <<'PYTHON'
import math
import sys

import mlflow

for name, times in (("inf", 1), ("twice", 2)):
    mlflow.set_tracking_uri(f"file://{sys.argv[1]}/{name}/mlruns")
    mlflow.set_experiment("sweep")
    with mlflow.start_run():
        mlflow.log_metric("loss", math.inf)
        mlflow.log_metric("nan", math.nan)
        for _ in range(times):
            mlflow.log_metric("other", 1.0, step=1, timestamp=5)
PYTHON
for name in inf twice; do
    code=0
    "$folder/venv/bin/mlflow" migrate-filestore --source "$folder/$name/mlruns" \
        --target "sqlite:///$folder/$name.db" >"$folder/$name.log" 2>&1 || code=$?
    echo "$name: the migration ended with $code"
    echo "$code" >"$folder/$name.code"
done
"$folder/venv/bin/python" - "$folder" 2>/dev/null <<'PYTHON'
import math
import sys

import mlflow

folder = sys.argv[1]
code = {name: int(open(f"{folder}/{name}.code").read()) for name in ("inf", "twice")}
mlflow.set_tracking_uri(f"file://{folder}/inf/mlruns")
before = mlflow.MlflowClient()
(run,) = before.search_runs([before.get_experiment_by_name("sweep").experiment_id])
mlflow.set_tracking_uri(f"sqlite:///{folder}/inf.db")
after = mlflow.MlflowClient()
(same,) = after.search_runs([after.get_experiment_by_name("sweep").experiment_id])
print("before", run.data.metrics, "after", same.data.metrics)
refused = "UNIQUE constraint failed" in open(f"{folder}/twice.log").read()
print("logged twice: refused", refused)
as_seen = (
    run.data.metrics["loss"] == math.inf
    and same.data.metrics["loss"] == sys.float_info.max
    and math.isnan(same.data.metrics["nan"])
    and code["inf"] == 0
    and code["twice"] != 0
    and refused
)
sys.exit(not as_seen)
PYTHON
