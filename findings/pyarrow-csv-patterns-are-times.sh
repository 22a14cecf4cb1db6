#!/usr/bin/env bash
# pyarrow 26.0.1: `pyarrow.csv.read_csv`, and pandas 3.1.1 with `engine="pyarrow"`, read the sparsity pattern 16:32 as
# half past four in the afternoon.
#
# Seen: a column whose values are all 16:32 is time32[s], in pandas objects of datetime.time; with one 2:4 among them it
# is a column of texts, as an hour needs two digits. So the type of a column depends on which patterns a file
# happens to have. pandas' own engine gives texts in both.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import datetime
import io
import sys

import pandas as pd
import pyarrow.csv

one, two = b"pattern\n16:32\n16:32\n", b"pattern\n16:32\n2:4\n"
found = {
    "pyarrow, one": str(pyarrow.csv.read_csv(io.BytesIO(one)).schema.field("pattern").type),
    "pyarrow, two": str(pyarrow.csv.read_csv(io.BytesIO(two)).schema.field("pattern").type),
    "pandas by pyarrow": pd.read_csv(io.BytesIO(one), engine="pyarrow")["pattern"][0],
    "pandas": pd.read_csv(io.BytesIO(one))["pattern"][0],
}
print(found)
expected = {
    "pyarrow, one": "time32[s]",
    "pyarrow, two": "string",
    "pandas by pyarrow": datetime.time(16, 32),
    "pandas": "16:32",
}
sys.exit(found != expected)
PYTHON
