"""The example notebook, run against the service, and what is kept of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")

EXAMPLES = Path(__file__).parents[1] / "examples"
LARGEST_BYTES = 300_000
# A refit that is done at once shows no bar.
BAR = "application/vnd.jupyter.widget-view+json"


def kinds(notebook: Any) -> list[list[str]]:
    """Return what each cell shows: kinds of data, and names of streams."""
    return [
        sorted(
            {
                kind
                for output in cell.get("outputs", [])
                if BAR not in output.get("data", [])
                for kind in output.get("data", [output.get("name")])
            }
        )
        for cell in notebook.cells
    ]


def test_the_notebook_runs_and_shows_what_is_kept(url: str, tmp_path: Path) -> None:
    output = tmp_path / "run.ipynb"
    # Jupyter's packages warn of things that are theirs, so they run apart.
    done = subprocess.run(
        [sys.executable, EXAMPLES / "notebook.py", "--output", output],
        env={**os.environ, "SPARSITY_PLANNER_URL": url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    run, kept = nbformat.read(output, 4), nbformat.read(EXAMPLES / "sparsity.ipynb", 4)
    # `python examples/notebook.py` writes it anew after a change of sparsity.md.
    assert [(cell.cell_type, cell.source) for cell in run.cells] == [
        (cell.cell_type, cell.source) for cell in kept.cells
    ]
    assert kinds(run) == kinds(kept)
    shown = [kind for cell in kinds(kept) for kind in cell]
    assert shown.count("image/svg+xml") == 3
    assert shown.count("text/html") >= 8
    assert (EXAMPLES / "sparsity.ipynb").stat().st_size < LARGEST_BYTES
    kept_text = (EXAMPLES / "sparsity.ipynb").read_text()
    for private in (str(EXAMPLES.parents[2]), str(Path.home()), url):
        assert private not in kept_text
