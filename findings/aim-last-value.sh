#!/usr/bin/env bash
# aim 3.29.1: the last value of a metric, as its own package gives it, is not that of the last step.
#
# Seen: after tracking 3.0, 2.9, 2.8, 2.7 at steps 0 to 3, `metric.values.last_value()` is 2.8, `metric.values.values_list()`
# is [3.0, 2.9, 2.7, 2.8] (the order of hashes of the steps), and `metric.dataframe(only_last=True)`, which builds on it,
# has 2.8 too. `metric.data.items_list()` has steps and values in order.
# Before that, `Repo.iter_runs()` finds none of the runs, closed as they are, though `Repo.list_all_runs()` has them:
# `aim storage reindex` makes them found.
#
# Why it matters: the loss of a run that is read with `last_value` is that of some step.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aim==3.29.1 pandas==3.1.1
cat >"$folder/write.py" <<'PYTHON'
import sys

import aim

run = aim.Run(repo=sys.argv[1], system_tracking_interval=None, log_system_params=False)
for step, value in enumerate((3.0, 2.9, 2.8, 2.7)):
    run.track(value, name="loss", step=step)
run.close()
PYTHON
cat >"$folder/count.py" <<'PYTHON'
import sys

import aim

repo = aim.Repo(sys.argv[1])
found = len(repo.list_all_runs()), len(list(repo.iter_runs()))
print("runs stored and found:", found)
sys.exit(found != (1, 0))
PYTHON
cat >"$folder/read.py" <<'PYTHON'
import sys

import aim

(run,) = aim.Repo(sys.argv[1]).iter_runs()
(metric,) = run.metrics()
steps, (values, *_) = metric.data.items_list()
found = {
    "in order": list(values),
    "values_list": metric.values.values_list(),
    "last_value": metric.values.last_value(),
    "only_last": float(metric.dataframe(only_last=True)["value"].iloc[0]),
}
print(found)
expected = {"in order": [3.0, 2.9, 2.8, 2.7], "values_list": [3.0, 2.9, 2.7, 2.8], "last_value": 2.8, "only_last": 2.8}
sys.exit(found != expected)
PYTHON
"$folder/venv/bin/python" "$folder/write.py" "$folder/repo"
"$folder/venv/bin/python" "$folder/count.py" "$folder/repo"
"$folder/venv/bin/aim" storage --repo "$folder/repo" reindex --yes >/dev/null 2>&1
"$folder/venv/bin/python" "$folder/read.py" "$folder/repo"
