#!/usr/bin/env bash
# wandb 0.31.0: a NaN in the configuration of a run is stored as null, an infinity there as Infinity, and both in its
# summary as NaN and Infinity.
#
# Seen: in an offline file of `config={"target": nan, "limit": inf}` and `log({"target": nan, "limit": inf})`. Three of the
# four are written bare, as JSON does not have them; one is lost. No warning.
#
# Why it matters: a reader cannot tell a setting that was NaN from one that was not given.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check wandb==0.31.0
export WANDB_SILENT=true
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import glob
import math
import struct
import sys

import wandb
from wandb.proto.wandb_internal_pb2 import Record

values = {"target": math.nan, "limit": math.inf}
with wandb.init(mode="offline", project="p", dir=sys.argv[1], config=values) as run:
    run.log(values)
(path,) = glob.glob(f"{sys.argv[1]}/wandb/offline-run-*/*.wandb")
data, at, found = open(path, "rb").read(), 7, {}
# The records of so short a run lie whole in the first block of the file.
while at + 7 <= len(data):
    _, size, kind = struct.unpack("<IHB", data[at : at + 7])
    assert kind == 1
    record, at = Record.FromString(data[at + 7 : at + 7 + size]), at + 7 + size
    for part, items in (("config", record.run.config.update), ("summary", record.summary.update)):
        for item in items:
            name = item.key or ".".join(item.nested_key)
            if name in values:
                found[part, name] = item.value_json
print(found)
expected = {
    ("config", "target"): "null",
    ("config", "limit"): "Infinity",
    ("summary", "target"): "NaN",
    ("summary", "limit"): "Infinity",
}
sys.exit(int(found != expected))
PYTHON
