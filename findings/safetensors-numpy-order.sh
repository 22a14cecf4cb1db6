#!/usr/bin/env bash
# safetensors 0.8.0 with NumPy 2.4.6: `safetensors.numpy.save_file` writes arrays that are not in C order in the
# order of their memory, under the shape of the array, so that what is loaded is another array.
#
# Seen: every second column of a 3 x 4 array comes back as its first six values, and a 2 x 3 array in Fortran order
# with its values in other places. No error, no warning; shape, type and sums of the Fortran one are right.
# 0.7.0 gives the Fortran array back as it was.
#
# Why it matters to whoever counts zeros: the number of zeros of a Fortran array stays right, and an n:m pattern
# along its rows is gone, as values of other rows stand in them. `numpy.ascontiguousarray` before saving avoids it.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/file.safetensors" <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

path = sys.argv[1]
whole = np.arange(12, dtype=np.float32).reshape(3, 4)
arrays = {
    "c_order": whole,
    "slice": whole[:, ::2],
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
}
save_file(arrays, path)
loaded = load_file(path)
same = {name: bool(np.array_equal(loaded[name], array)) for name, array in arrays.items()}
print(same)
for name in ("slice", "fortran"):
    print(name, "saved", arrays[name].tolist(), "loaded", loaded[name].tolist())
sys.exit(same != {"c_order": True, "slice": False, "fortran": False})
PYTHON
