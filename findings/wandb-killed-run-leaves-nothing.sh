#!/usr/bin/env bash
# wandb 0.31.0: an offline run that logged ten steps and is killed ten seconds later leaves a file of 7 bytes: the
# magic number of the format, and neither steps nor configuration nor the name of the run.
#
# Seen: the process ends with `os._exit(9)`, as if it was killed for memory; its wandb service sees that and ends without
# writing what it holds. With 300 steps all of them are in the file, so it is a buffer of some kilobytes that is lost:
# at the begin of every run, and of one that logs a few evaluations only all of it.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check wandb==0.31.0
cat >"$folder/train.py" <<'PYTHON'
import os
import sys
import time

import wandb

run = wandb.init(mode="offline", project="p", dir=sys.argv[1], config={"params": 4e7})
for step in range(int(sys.argv[2])):
    run.log({"loss": float(step)})
time.sleep(10)
os._exit(9)
PYTHON
export WANDB_SILENT=true
for steps in 10 300; do
    mkdir "$folder/$steps"
    "$folder/venv/bin/python" "$folder/train.py" "$folder/$steps" "$steps" || true
    # The service notices within moments that its process is gone.
    sleep 5
    stat --format '%s' "$folder/$steps"/wandb/offline-run-*/*.wandb >"$folder/$steps.size"
    echo "$steps steps: $(cat "$folder/$steps.size") bytes"
done
test "$(cat "$folder/10.size")" = 7
test "$(cat "$folder/300.size")" -gt 30000
