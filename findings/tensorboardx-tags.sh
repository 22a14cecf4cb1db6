#!/usr/bin/env bash
# tensorboardX 2.6.5: tags are rewritten before they are stored, so that two metrics become one.
#
# Seen: scalars "eval loss" and "eval_loss" are both stored as "eval_loss"; whoever reads the last value of the one
# gets that of the other. "ppl(c4)" is stored as "ppl_c4_". Letters of other languages stay. A line is logged,
# which nothing shows unless logging is set up.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorboardX==2.6.5
"$folder/venv/bin/python" - "$folder/run" <<'PYTHON'
import glob
import struct
import sys

from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event

with SummaryWriter(sys.argv[1]) as writer:
    writer.add_scalar("eval loss", 2.5, 1)
    writer.add_scalar("eval_loss", 9.0, 2)
    writer.add_scalar("ppl(c4)", 12.0, 1)
(path,) = glob.glob(f"{sys.argv[1]}/*tfevents*")
data, at, found = open(path, "rb").read(), 0, []
while at < len(data):
    (size,) = struct.unpack("<Q", data[at : at + 8])
    event = Event.FromString(data[at + 12 : at + 12 + size])
    found += [(value.tag, value.simple_value) for value in event.summary.value]
    at += 12 + size + 4
print(found)
sys.exit(found != [("eval_loss", 2.5), ("eval_loss", 9.0), ("ppl_c4_", 12.0)])
PYTHON
