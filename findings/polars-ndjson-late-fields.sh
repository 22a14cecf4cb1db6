#!/usr/bin/env bash
# polars 2.1.0: `read_ndjson` and `scan_ndjson` drop what the first 100 lines do not have, without a word.
#
# Seen: in 150 lines, a field of line 142 (`exclusion_reason`) and a key inside an object of line 141 (`tags.late`) are
# not in the frame; no error, no warning. A number with a fraction after 100 whole ones is an error, so values are
# looked at where names are not. `infer_schema_length=None` reads all.
#
# Why it matters: exports of runs have tags and reasons that only some rows have. A frame that is written back has
# lost them.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0
"$folder/venv/bin/python" -W error - <<'PYTHON'
import json
import sys

import polars as pl

rows = [{"id": str(number), "loss": 2.5, "tags": {"seed": "1"}} for number in range(150)]
rows[140]["tags"] = {"seed": "1", "late": "x"}
rows[141]["exclusion_reason"] = "diverged"
body = "\n".join(map(json.dumps, rows)).encode()
frames = {"read": pl.read_ndjson(body), "scan": pl.scan_ndjson(body).collect()}
found = {name: (frame.columns, frame["tags"].to_list()[140]) for name, frame in frames.items()}
whole = pl.read_ndjson(body, infer_schema_length=None)
print(found, "whole:", whole.columns)
lost = (["id", "loss", "tags"], {"seed": "1"})
kept = "exclusion_reason" in whole.columns and whole["tags"].to_list()[140]["late"] == "x"
sys.exit(found != {"read": lost, "scan": lost} or not kept)
PYTHON
