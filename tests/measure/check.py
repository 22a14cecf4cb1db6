"""Counts checkpoints written by the safetensors package, with the program and with NumPy.

    check.py PROGRAM              compares
    check.py --example FILE       writes the small checkpoint of docs/measure.md
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def two_of_four(rng, rows, columns):
    """A matrix in which, of each four neighbours in a row, the two largest are kept."""
    groups = rng.standard_normal((rows * columns // 4, 4)).astype(np.float16)
    np.put_along_axis(groups, np.argsort(np.abs(groups), axis=1)[:, :2], 0, axis=1)
    return groups.reshape(rows, columns)


def small(rng):
    """A model of one layer, pruned to 2:4."""
    return {
        "model.embed_tokens.weight": rng.standard_normal((32, 16)).astype(np.float16),
        "model.layers.0.mlp.up_proj.weight": two_of_four(rng, 64, 16),
        "model.layers.0.mlp.down_proj.weight": two_of_four(rng, 16, 64),
        "model.norm.weight": np.ones(16, np.float16),
    }


def measured(program, path):
    done = subprocess.run([program, "measure", path, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def codes(answer):
    return [warning["code"] for warning in answer["measurement"]["warnings"]]


def compare(program, folder):
    rng = np.random.default_rng(1)
    cases = 0

    def counted(name, tensors):
        nonlocal cases
        cases += 1
        path = folder / f"{name}.safetensors"
        save_file(tensors, path)
        answer = measured(program, path)
        everything = answer["measurement"]["all"]
        assert everything["nonzero_params"] == sum(np.count_nonzero(t) for t in tensors.values()), name
        assert everything["total_params"] == sum(t.size for t in tensors.values()), name
        return answer

    answer = counted("small", small(rng))
    assert answer["run"]["pattern"] == "2:4" and codes(answer) == [], answer["run"]
    assert answer["run"]["nonzero_params"] == 2 * 64 * 16 // 2 + 16

    for dtype in (np.float16, np.float32, np.float64):
        values = rng.standard_normal((40, 24)).astype(dtype)
        values[::3] = -0.0
        counted(f"minus-zero-{dtype.__name__}", {"a.weight": values})

    tiny = rng.normal(0, 1e-7, (512, 512)).astype(np.float16)
    answer = counted("underflow", {"a.weight": tiny})
    assert 0.22 < answer["measurement"]["all"]["sparsity"] < 0.25
    assert codes(answer) == ["rounding_zeros"], codes(answer)

    # An array that is not in C order is written as it lies in memory, but with its logical shape.
    columns_first = np.asfortranarray(two_of_four(rng, 96, 64))
    answer = counted("order", {"a.weight": columns_first})
    assert answer["run"]["pattern"] is None and codes(answer) == ["half_without_pattern"], answer

    shards, index = folder / "shards", {}
    shards.mkdir()
    for number, (name, tensor) in enumerate(small(np.random.default_rng(1)).items()):
        file = f"model-{number}.safetensors"
        save_file({name: tensor}, shards / file)
        index[name] = file
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert measured(program, shards) == measured(program, folder / "small.safetensors")
    print(f"{cases + 1} passed, 0 failed")


if sys.argv[1] == "--example":
    save_file(small(np.random.default_rng(1)), sys.argv[2])
else:
    with tempfile.TemporaryDirectory() as name:
        compare(str(Path(sys.argv[1]).resolve()), Path(name))
