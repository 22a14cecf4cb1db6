#!/usr/bin/env bash
# pyarrow 26.0.1, polars 2.1.0 and pandas 3.1.1 write a span of time into Parquet as a bare INT64: the format has no type
# for it, and only the Arrow schema in the file's metadata says that it is one, and of which unit.
#
# Seen: `duration[s]` of 5 s is the number 5 in a column without a logical type. A reader that leaves `ARROW:schema` alone,
# as one may that trusts the types of columns and nothing beside them, has a number, which may be taken for steps,
# tokens or a loss.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 polars==2.1.0 pandas==3.1.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import datetime
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

span = datetime.timedelta(seconds=5)
folder = sys.argv[1]
pq.write_table(pa.table({"took": pa.array([span], pa.duration("s"))}), f"{folder}/pyarrow")
pl.DataFrame({"took": [span]}).write_parquet(f"{folder}/polars")
pd.DataFrame({"took": [pd.Timedelta(span)]}).to_parquet(f"{folder}/pandas")


def bare(path: str) -> bool:
    file = pq.ParquetFile(path)
    column = file.schema.column(0)
    is_number = column.physical_type == "INT64" and column.logical_type.type == "NONE"
    return is_number and pa.types.is_duration(file.schema_arrow.field("took").type)


seen = {library: bare(f"{folder}/{library}") for library in ("pyarrow", "polars", "pandas")}
print(seen)
sys.exit(0 if all(seen.values()) else 1)
PYTHON
