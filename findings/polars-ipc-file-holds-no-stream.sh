#!/usr/bin/env bash
# polars 2.1.0: a file of `DataFrame.write_ipc` holds no IPC stream between its first word and its directory, as
# Arrow's specification says a file does ("the file format is an extension of the streaming format").
#
# Seen: behind `ARROW1` and two zeros the schema stands bare, without the marker and the length that every message
# begins with. pyarrow 26.0.1 reads the file by its directory, and refuses the same bytes from the eighth on as a
# stream ("Invalid flatbuffers message"); a file that pyarrow itself writes can be read that way.
#
# Why it matters: readers that take a file from a pipe, where its end is not at hand, skip eight bytes and go on
# as with a stream. That works for files of pyarrow, and ends with an error for those of polars. `write_ipc_stream`
# writes what can be read so.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 pyarrow==26.0.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import polars as pl
import pyarrow as pa
from pyarrow import ipc

frame = pl.DataFrame({"a": [1, 2]})
path = sys.argv[1] + "/polars.arrow"
frame.write_ipc(path)
by_polars = open(path, "rb").read()
table = pa.table({"a": [1, 2]})
sink = pa.BufferOutputStream()
with ipc.new_file(sink, table.schema) as writer:
    writer.write_table(table)
by_pyarrow = sink.getvalue().to_pybytes()
streamed = sys.argv[1] + "/polars.arrows"
frame.write_ipc_stream(streamed)


def as_stream(data: bytes) -> str:
    try:
        return f"{ipc.open_stream(data).read_all().num_rows} rows"
    except (OSError, pa.ArrowInvalid) as error:
        return str(error).splitlines()[0]


print("by its directory:", ipc.open_file(path).read_all().num_rows, "rows")
seen = {
    "polars, from byte 8": as_stream(by_polars[8:]),
    "pyarrow, from byte 8": as_stream(by_pyarrow[8:]),
    "polars' stream": as_stream(open(streamed, "rb").read()),
}
print(seen, "the polars file goes on with", by_polars[8:16].hex())
expected = ["Invalid flatbuffers message.", "2 rows", "2 rows"]
sys.exit(list(seen.values()) != expected or by_polars[8:12] == b"\xff\xff\xff\xff")
PYTHON
