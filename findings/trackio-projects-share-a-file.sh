#!/usr/bin/env bash
# trackio 0.43.0: projects whose names differ only in spaces and slashes are one database, and each shows the runs of
# the others.
#
# Seen: runs of the projects "a b", "ab" and "a/b" all stand in `ab.db`; `trackio.Api().runs("ab")` lists all three. No
# error, no warning. "a-b" has a file of its own.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check trackio==0.43.0
export TRACKIO_DIR="$folder/files"
mkdir "$TRACKIO_DIR"
"$folder/venv/bin/python" -W error::UserWarning - >"$folder/out" 2>&1 <<'PYTHON' || { cat "$folder/out"; exit 1; }
import os
import sys

import trackio

for project in ("a b", "ab", "a/b", "a-b"):
    trackio.init(project=project, name=f"run of {project}")
    trackio.log({"loss": 1.0})
    trackio.finish()
files = sorted(name for name in os.listdir(os.environ["TRACKIO_DIR"]) if name.endswith(".db"))
runs = sorted(run.name for run in trackio.Api().runs("ab"))
print(files, runs)
sys.exit((files, runs) != (["a-b.db", "ab.db"], ["run of a b", "run of a/b", "run of ab"]))
PYTHON
tail -n 1 "$folder/out"
