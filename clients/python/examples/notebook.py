"""
Writes examples/sparsity.ipynb: its cells, and what they print against a service.

    sparsity-planner demo &
    python examples/notebook.py                  # runs the cells, and keeps what they show
    python examples/notebook.py --output FILE    # the same into another file

The address is SPARSITY_PLANNER_URL, or http://127.0.0.1:8080. Cells are the parts of `sparsity.md`: text,
and fenced blocks of Python.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import nbclient
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).parent
NOTEBOOK = HERE / "sparsity.ipynb"
DEFAULT = "http://127.0.0.1:8080"
CELL_SECONDS = 300


def cells(text: str) -> nbformat.NotebookNode:
    """Return a notebook whose cells are the text between blocks of code, and these."""
    made = new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    for part in re.split(r"(^```python\n.*?^```\n)", text, flags=re.MULTILINE | re.DOTALL):
        if part.startswith("```python\n"):
            source = part.removeprefix("```python\n").removesuffix("```\n").strip()
            made.cells.append(new_code_cell(source))
        elif part.strip():
            made.cells.append(new_markdown_cell(part.strip()))
    for number, cell in enumerate(made.cells):
        # The same whenever they are made.
        cell["id"] = f"cell-{number}"
    return made


def run(notebook: nbformat.NotebookNode) -> None:
    """Run the cells, and leave nothing of this machine in what they show."""
    nbclient.NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": HERE}}).execute()
    url = os.environ.get("SPARSITY_PLANNER_URL", DEFAULT)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            texts = output.get("data", output)
            for kind, text in list(texts.items()):
                if isinstance(text, str):
                    texts[kind] = text.replace(url, DEFAULT)


def main() -> None:
    """Make the notebook, run it, and write it."""
    parser = argparse.ArgumentParser(description="Makes the example notebook.")
    parser.add_argument("--output", type=Path, default=NOTEBOOK)
    output: Path = parser.parse_args().output
    notebook = cells((HERE / "sparsity.md").read_text())
    run(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, output)


if __name__ == "__main__":
    main()
