#!/usr/bin/env bash
# pandas 3.1.1: CSV is read exactly now, and `float_precision` is deprecated ("use the default"); JSON still is not.
#
# Seen: of 20,000 random numbers written with all their digits, `read_csv` gives every one back and `read_json(lines=True)`
# gives about half of them back with another last bit, silently. `precise_float=True` gives all. pandas 2.3.3 rounds in
# both unless told not to.
#
# Why it matters: a frame that was read from NDJSON and is sent back has other values than those that are stored.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1
"$folder/venv/bin/python" - <<'PYTHON'
import io
import json
import random
import sys
import warnings

import pandas as pd

random.seed(1)
numbers = [random.random() * 10 ** random.randint(-5, 5) for _ in range(20_000)]
lines = "\n".join(json.dumps({"loss": number}) for number in numbers)
table = "loss\n" + "\n".join(map(repr, numbers))


def changed(frame):
    return sum(read != number for read, number in zip(frame["loss"], numbers, strict=True))


found = {
    "csv": changed(pd.read_csv(io.StringIO(table))),
    "json": changed(pd.read_json(io.StringIO(lines), lines=True)),
    "precise json": changed(pd.read_json(io.StringIO(lines), lines=True, precise_float=True)),
}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    pd.read_csv(io.StringIO(table), float_precision="round_trip")
deprecated = any("float_precision" in str(warning.message) for warning in caught)
print(found, "deprecated:", deprecated)
sys.exit(not (found["csv"] == 0 == found["precise json"] and found["json"] > 5_000 and deprecated))
PYTHON
