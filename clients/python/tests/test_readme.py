"""The blocks of the README as they are written, and the examples."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sparsity_planner import Family

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("block", BLOCKS, ids=["start", "points", "await"])
def test_a_block_runs(
    block: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARSITY_PLANNER_URL", url)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    assert re.search(r"\d\.\d", capsys.readouterr().out)


def run_example(name: str, *arguments: str) -> None:
    runpy.run_path(str(ROOT / "examples" / name))["main"](list(arguments))


def test_the_example_of_weights_and_biases(
    family: Family, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, dict[str, str]]] = []
    config = {"params": 4e7, "sparsity": 0.5, "tokens": 20_000_000_000}
    # As `wandb.Api().runs` gives them: `config` a dictionary, `summary` with `get`.
    runs = [
        SimpleNamespace(id="3kx9", name="calm-1", config=config, summary={"eval/loss": 2.5, "_step": 9}),
        SimpleNamespace(id="7bq2", name="calm-1", config=config, summary={"eval/loss": "NaN"}),
        SimpleNamespace(id="9zz1", name="dry-2", config=config, summary={}),
    ]

    class Api:
        def runs(self, path: str, filters: dict[str, str]) -> list[Any]:
            asked.append((path, filters))
            return runs

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=Api))
    monkeypatch.setenv("SPARSITY_PLANNER_URL", url)
    run_example("wandb_export.py", "team/project", "--family", family.name)
    assert asked == [("team/project", {"state": "finished"})]
    (run,) = family.runs()
    assert (run.external_id, run.total_params, run.loss, run.tags) == ("3kx9", 4e7, 2.5, {"wandb": "calm-1"})
    printed = capsys.readouterr().out
    assert "left out 9zz1 (dry-2): no loss" in printed
    assert "rejected=[Rejection(detail='must be a number" in printed


def test_the_example_of_mlflow(
    family: Family, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame(
        {
            "run_id": ["a1", "b2"],
            "status": "FINISHED",
            "params.nonzero_params": ["2e7", "2e7"],
            "params.sparsity": ["0.5", "0.75"],
            "params.tokens": ["20000000000", "20000000000"],
            "metrics.val_loss": [2.5, None],
            "tags.team": ["vision", None],
            "tags.mlflow.user": "somebody",
        }
    )

    def search_runs(experiment_names: list[str], filter_string: str) -> pd.DataFrame:
        assert experiment_names == ["sweeps"]
        assert filter_string == "attributes.status = 'FINISHED'"
        return frame

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(search_runs=search_runs))
    monkeypatch.setenv("SPARSITY_PLANNER_URL", url)
    run_example("mlflow_export.py", "sweeps", "--family", family.name)
    (run,) = family.runs()
    assert (run.external_id, run.nonzero_params, run.tags) == ("a1", 2e7, {"team": "vision"})
    assert "1 runs left out" in capsys.readouterr().out
