#!/usr/bin/env bash
# ray 2.60.0: `result.json` of Ray Tune writes one NaN in two ways, by the type that it has in Python.
#
# Seen: a float that is NaN is written as NaN, bare; a NumPy float32 that is NaN as the text "null", in quotes, which is
# neither null nor a number. A set is written as the text "{1, 2}".
#
# Why it matters: readers that look for NaN or null find neither where the loss came from a float32 array, and those
# that look for texts find "null" among losses.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'ray[tune]==2.60.0' numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys

import numpy as np
from ray.tune.utils.util import SafeFallbackEncoder

values = {"float": float("nan"), "float32": np.float32("nan"), "set": {1, 2}}
written = {name: json.dumps(value, cls=SafeFallbackEncoder) for name, value in values.items()}
print(written)
sys.exit(written != {"float": "NaN", "float32": '"null"', "set": '"{1, 2}"'})
PYTHON
