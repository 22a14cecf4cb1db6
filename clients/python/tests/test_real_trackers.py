"""
Files that the trackers' own packages write, in the versions of `real/requirements.txt`.

`SPARSITY_PLANNER_TRACKERS` is a virtual environment that has them; `check` makes one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_trackers import DIGITS, same

from sparsity_planner import Family, trackers

ENVIRONMENT = os.environ.get("SPARSITY_PLANNER_TRACKERS")
pytestmark = pytest.mark.skipif(not ENVIRONMENT, reason="SPARSITY_PLANNER_TRACKERS names no environment")
HERE = Path(__file__).parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    assert ENVIRONMENT
    program, *arguments = command
    return subprocess.run(
        [str(Path(ENVIRONMENT).resolve() / "bin" / program), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trackers")
    done = run("python", str(HERE / "real" / "write.py"), str(folder))
    assert done.returncode == 0, done.stderr
    return folder


# How each tells of the same run, and how the service is told what its columns mean.
GOOD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wandb": (
        {
            "Name": "good",
            "Group": "g",
            "summary.eval/loss": 2.5,
            "summary.train.loss": 1,
            "summary.lowest.min": -3,
            "summary.count": DIGITS,
            "config.optim.value": 3,
            "config.seed": DIGITS,
            "config.late": 1,
        },
        {},
    ),
    "mlflow": (
        {
            "run_name": "good",
            "status": "FINISHED",
            "metrics.val_loss": 2.5,
            "metrics.eval/late": 1.0,
            "metrics.inf": float("inf"),
            "metrics.nan": float("nan"),
            "params.seed": str(DIGITS),
            "tags.team": "vision",
        },
        {},
    ),
    "tensorboard": (
        {"folder": "good", "metrics.eval/loss": 2.5, "params.opt": "adam", "params.tied": True, "step": 3},
        {"id": "folder"},
    ),
    "optuna": (
        {"run_id": "sweep:0", "value": 2.5, "params.width": 128, "metrics.data": DIGITS},
        {"map": {"loss": "value", "data": 2e10}},
    ),
    "trackio": (
        {
            "run_name": "good",
            "metrics.eval/loss": 2.5,
            "metrics.grad": float("nan"),
            "metrics.up": float("inf"),
            "params.seed": DIGITS,
            "params.optim.lr": 0.1,
        },
        {},
    ),
    "huggingface": (
        {"folder": "good", "metrics.eval_loss": 2.5, "data": 20_000_000_000, "params.config.n_embd": 64},
        {"id": "folder", "map": {"nonzero_params": 2e7, "sparsity": 0.5}},
    ),
    "ray": (
        {"run_id": "good", "metrics.val_loss": 2.5, "params.optim.lr": 0.1, "metrics.grad": float("nan")},
        {},
    ),
}
LEFT_OUT = {
    "wandb": {"exit code is not 0": 1},
    "mlflow": {"status is failed": 2, "status is running": 2, "lifecycle_stage is deleted": 2},
    "tensorboard": {},
    "optuna": {"state is pruned": 1, "state is fail": 1, "state is running": 1},
    "trackio": {},
    "huggingface": {"global_step is below max_steps": 1},
    "ray": {"done is not true": 1},
}


@pytest.mark.parametrize("source", GOOD)
def test_the_good_run_is_read_and_the_others_are_counted(files: Path, family: Family, source: str) -> None:
    expected, reading = GOOD[source]
    assert trackers.recognise(files / source) == source
    found = trackers.read(files / source)
    good, *others = found
    if source == "optuna":
        # A choice of a trial is random.
        expected = {**expected, "params.width": good["params.width"]}
        assert good["params.width"] in (128, 256)
    same(good, expected)
    # MLflow's database and folder have a run each; a trial of Optuna that completed has an infinite value.
    assert len(others) == (source in ("mlflow", "optuna"))
    # How much W&B has written of a run when it is killed is a matter of time.
    killed = {reason: runs for reason, runs in found.left_out.items() if "killed" in reason}
    assert sum(killed.values()) == (source == "wandb")
    left_out = {reason: runs for reason, runs in found.left_out.items() if reason not in killed}
    assert left_out == LEFT_OUT[source]

    stored = family.log_runs(trackers.read(files / source), on_error="skip", **reading)
    assert stored.created == 1 + (source == "mlflow")
    for logged in family.runs():
        assert (logged.nonzero_params, logged.sparsity, logged.data, logged.loss) == (2e7, 0.5, 2e10, 2.5)
    assert stored.left_out == {**LEFT_OUT[source], **killed}


def test_the_commands_of_the_documentation_run(files: Path, family: Family, url: str, tmp_path: Path) -> None:
    text = (HERE.parents[2] / "docs" / "trackers.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    # Lightning needs torch to write its own: a table of the kind stands in for it.
    lightning = tmp_path / "lightning" / "version_0"
    lightning.mkdir(parents=True)
    (lightning / "metrics.csv").write_text("epoch,val_loss\n0,2.75\n1,2.5\n")
    (lightning / "hparams.yaml").write_text("nonzero_params: 2e7\nsparsity: 0.5\ndata: 2e10\n")
    for source in GOOD:
        (tmp_path / source).symlink_to(files / source)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FAMILY": family.name,
        "SPARSITY_PLANNER_URL": url,
    }
    done = subprocess.run(
        ["bash", "-euxc", block], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # MLflow's database and its folder have a run each.
    assert done.stdout.count("created 1,") == 7
    assert done.stdout.count("created 2,") == 1
    assert {run.loss for run in family.runs()} == {2.5}


def test_aim_is_read_by_its_own_package_once_its_index_is_whole(files: Path, family: Family) -> None:
    read = ("python", "-m", "sparsity_planner.trackers", str(files / "aim"))
    refused = run(*read)
    assert refused.returncode == 1
    assert "1 of 1 runs are not in Aim's index" in refused.stderr
    assert f"aim storage --repo {files}/aim reindex makes it" in refused.stderr
    assert run("aim", "storage", "--repo", str(files / "aim"), "reindex", "--yes").returncode == 0
    done = run(*read)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    row = json.loads(line)
    same(row, {"run_name": "good", "metrics.val_loss": 2.5, "params.hparams.seed": DIGITS})
    sizes = {name: f"params.hparams.{name}" for name in ("nonzero_params", "sparsity", "data")}
    assert family.log_runs([row], source="mlflow", map=sizes).created == 1
