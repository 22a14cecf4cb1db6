#!/usr/bin/env bash
# wandb 0.31.0: a training process that is killed is recorded with exit code 0 where it shares the wandb service of a
# process that goes on, as under every launcher that calls `wandb.setup()` first (or has a run of its own).
#
# Seen: the child ends with `os._exit(9)` in the middle of its run. Its offline file gets an `exit` record when the
# parent ends, with the parent's exit code, 0. The same child with a service of its own leaves no `exit` record.
#
# Why it matters to whoever keeps finished runs only: a sweep whose workers were killed for memory, or preempted,
# comes in as runs that finished, with the loss they happened to have. Look at the step that a run reached.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check wandb==0.31.0
cat >"$folder/child.py" <<'PYTHON'
import os
import sys

import wandb

run = wandb.init(mode="offline", project="p", dir=sys.argv[1])
run.log({"loss": 9.0})
os._exit(9)
PYTHON
cat >"$folder/exit.py" <<'PYTHON'
import glob
import struct
import sys

from wandb.proto.wandb_internal_pb2 import Record


def exit_code(folder):
    """The exit code in the only .wandb file below a folder, None without one: fragments of LevelDB's log."""
    (path,) = glob.glob(f"{folder}/wandb/offline-run-*/*.wandb")
    data, at, whole, code = open(path, "rb").read(), 7, b"", None
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        part, at = data[at + 7 : at + 7 + size], at + 7 + size
        whole = part if kind in (1, 2) else whole + part
        if kind in (1, 4):
            record = Record.FromString(whole)
            if record.WhichOneof("record_type") == "exit":
                code = record.exit.exit_code
    return code


shared, alone = exit_code(sys.argv[1]), exit_code(sys.argv[2])
print("shared service:", shared, "own service:", alone)
sys.exit((shared, alone) != (0, None))
PYTHON
export WANDB_SILENT=true
mkdir "$folder/shared" "$folder/alone"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import subprocess
import sys

import wandb

folder = sys.argv[1]
wandb.setup()
done = subprocess.run([sys.executable, f"{folder}/child.py", f"{folder}/shared"])
print("the child ended with", done.returncode)
PYTHON
"$folder/venv/bin/python" "$folder/child.py" "$folder/alone" || true
"$folder/venv/bin/python" "$folder/exit.py" "$folder/shared" "$folder/alone"
