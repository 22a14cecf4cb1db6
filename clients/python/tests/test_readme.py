"""The blocks of the README as they are written, and the examples."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import runpy
import sys
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sparsity_planner import Family

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("block", BLOCKS, ids=["start", "points", "await", "tables"])
def test_a_block_runs(
    block: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARSITY_PLANNER_URL", url)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    assert re.search(r"\d\.\d", capsys.readouterr().out)


def test_the_page_about_notebooks_runs_in_a_loop(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "../../docs/notebook.md").read_text()
    monkeypatch.setenv("SPARSITY_PLANNER_URL", url)
    known: dict[str, Any] = {"__name__": "notebook"}

    # As a notebook does: cells are compiled so that they may await, and run inside a loop.
    async def cells() -> None:
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            code = compile(block, "notebook.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = FunctionType(code, known)()
            if code.co_flags & inspect.CO_COROUTINE:
                await result

    asyncio.run(cells())
    with known["planner"]:
        assert known["mine"].run("sweep-3/run-17").excluded
    # The page's frame has the question that its last block asks.
    assert known["answer"].sparsity == pytest.approx(known["best"]["sparsity"][1], rel=1e-11)
    assert capsys.readouterr() == ("", "")


def run_example(name: str, *arguments: str) -> None:
    runpy.run_path(str(ROOT / "examples" / name))["main"](list(arguments))


def test_the_example_of_weights_and_biases(
    family: Family, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    config = {"params": 4e7, "sparsity": 0.5, "tokens": 20_000_000_000, "optim": {"value": 3}}
    # As `wandb.Api().runs` gives them: `config` a dictionary, `summary` with `items`.
    runs = [
        SimpleNamespace(id=id, name="calm-1", state=state, config=config, summary=summary)
        for id, state, summary in (
            ("3kx9", "finished", {"eval/loss": 2.5, "_step": 9}),
            ("7bq2", "finished", {"eval/loss": float("nan")}),
            ("9zz1", "crashed", {"eval/loss": 2.5}),
        )
    ]

    class Api:
        def runs(self, path: str) -> list[Any]:
            asked.append(path)
            return runs

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=Api))
    monkeypatch.setenv("SPARSITY_PLANNER_URL", url)
    mappings = ["--map", "total_params:config.params", "--map", "data:config.tokens"]
    run_example("wandb_export.py", "team/project", "--family", family.name, *mappings)
    assert asked == ["team/project"]
    (run,) = family.runs()
    assert (run.external_id, run.total_params, run.loss, run.tags) == ("3kx9", 4e7, 2.5, {"Name": "calm-1"})
    printed = capsys.readouterr().out
    assert "left_out={'State is crashed': 1}" in printed
    assert "field='loss', row=1" in printed


def test_the_example_of_mlflow(
    family: Family, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame(
        {
            "run_id": ["a1", "b2", "c3"],
            "status": ["FINISHED", "FINISHED", "FAILED"],
            "start_time": pd.to_datetime(["2026-11-29"] * 3, utc=True),
            "params.nonzero_params": "2e7",
            "params.sparsity": ["0.5", "0.75", "0.75"],
            "params.tokens": "20000000000",
            "params.loss": "CrossEntropy",
            "metrics.val_loss": [2.5, None, 2.5],
            "tags.team": ["vision", None, None],
            "tags.mlflow.user": "somebody",
        }
    )

    def search_runs(experiment_names: list[str]) -> pd.DataFrame:
        assert experiment_names == ["sweeps"]
        return frame

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(search_runs=search_runs))
    monkeypatch.setenv("SPARSITY_PLANNER_URL", url)
    arguments = ["--map", "data:params.tokens", "--tag-columns", "tags.team"]
    run_example("mlflow_export.py", "sweeps", "--family", family.name, *arguments)
    (run,) = family.runs()
    assert (run.external_id, run.nonzero_params, run.tags) == ("a1", 2e7, {"team": "vision"})
    printed = capsys.readouterr().out
    assert "left_out={'status is failed': 1}" in printed
    assert "field='loss', row=1" in printed
