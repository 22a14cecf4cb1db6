#!/usr/bin/env bash
# DuckDB 2.0.1 and polars 2.1.0 (`try_parse_dates=True`) read the names of runs in one CSV file as dates, and not as the
# same ones; patterns of sparsity become times of day.
#
# Seen: a column with `3-7-11` and `3-8-11` is the 3rd of July 2011 to DuckDB, by its defaults, and the 3rd of July of the
# year 11 to polars. A column with `16:32` alone is a TIME to both; beside `2:4` it stays a text in DuckDB, which asks for
# two digits of the hour, and is a time in polars, where `2:4` is 02:04:00. No warning. Given types (DuckDB: `types`,
# `all_varchar`; polars: `schema_overrides`) keep the texts. pandas 3.1.1 leaves both alone.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 polars==2.1.0 pandas==3.1.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import duckdb
import pandas as pd
import polars as pl

one, two = sys.argv[1] + "/one.csv", sys.argv[1] + "/two.csv"
open(one, "w").write("run,pattern\n3-7-11,16:32\n3-8-11,16:32\n")
open(two, "w").write("run,pattern\n3-7-11,16:32\n3-8-11,2:4\n")


def by_duckdb(path: str) -> list[str]:
    return [str(value) for value in duckdb.sql(f"from read_csv('{path}')").fetchall()[-1]]


def by_polars(path: str) -> list[str]:
    return [str(value) for value in pl.read_csv(path, try_parse_dates=True).rows()[-1]]


def by_pandas(path: str) -> list[str]:
    return [str(value) for value in pd.read_csv(path).values.tolist()[-1]]


seen = {of.__name__: (of(one), of(two)) for of in (by_duckdb, by_polars, by_pandas)}
for reader, rows in seen.items():
    print(reader, rows)
expected = {
    "by_duckdb": (["2011-08-03", "16:32:00"], ["2011-08-03", "2:4"]),
    "by_polars": (["0011-08-03", "16:32:00"], ["0011-08-03", "02:04:00"]),
    "by_pandas": (["3-8-11", "16:32"], ["3-8-11", "2:4"]),
}
texts = {"run": pl.String, "pattern": pl.String}
kept = pl.read_csv(two, try_parse_dates=True, schema_overrides=texts).rows()[-1] == ("3-8-11", "2:4")
sys.exit(seen != expected or not kept)
PYTHON
