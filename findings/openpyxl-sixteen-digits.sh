#!/usr/bin/env bash
# openpyxl 3.1.5 and XlsxWriter 3.2.9: numbers are written into a workbook with 16 significant digits, and a double needs
# up to 17, so some come back as another number. `DataFrame.to_excel` of pandas 3.1.1 writes by one or the other.
#
# Seen: 0.1 + 0.2 stands in the sheet as 0.3, and of 1,001 doubles 538 come back as others, the same by both. No error,
# no warning.
#
# Why it matters: a frame that went through a workbook differs from itself; runs that are sent again from it are taken
# for changed.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openpyxl==3.1.5 pandas==3.1.1 xlsxwriter==3.2.9
"$folder/venv/bin/python" - <<'PYTHON'
import io
import random
import sys

import pandas as pd

random.seed(0)
values = [0.1 + 0.2, *(random.uniform(2, 4) for _ in range(1000))]
for engine in ("openpyxl", "xlsxwriter"):
    book = io.BytesIO()
    pd.DataFrame({"loss": values}).to_excel(book, index=False, engine=engine)
    back = pd.read_excel(book, engine="openpyxl")["loss"].tolist()
    other = sum(a != b for a, b in zip(values, back))
    print(engine, "first", back[0], "others than were written:", other)
    if back[0] == values[0] or other == 0:
        sys.exit(1)
PYTHON
