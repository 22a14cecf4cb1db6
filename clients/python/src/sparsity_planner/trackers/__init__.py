"""
Runs out of the files of trackers: `family.log_runs(trackers.read("wandb/"))`.

Each reader yields rows by the tracker's own names (`metrics.val_loss`, `params.width`, `summary.eval/loss`,
...). What they mean is for the service to say: the arguments of `log_runs` map columns to fields and choose
tags. A field is filled here only where the tracker's format says that it is that field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Literal

from .._tracked import TrackedRun, TrackedRuns
from . import aim, huggingface, lightning, mlflow, optuna, ray, tensorboard, trackio, wandb
from ._files import SUFFIXES, UnreadableError, found, read_text

Source = Literal[
    "aim", "huggingface", "lightning", "mlflow", "optuna", "ray", "tensorboard", "trackio", "wandb"
]
Count = Literal["without-embeddings", "all", "prunable"]

SOURCES: dict[str, ModuleType] = {
    "aim": aim,
    "huggingface": huggingface,
    "lightning": lightning,
    "mlflow": mlflow,
    "optuna": optuna,
    "ray": ray,
    "tensorboard": tensorboard,
    "trackio": trackio,
    "wandb": wandb,
}

__all__ = ["SOURCES", "Count", "Source", "TrackedRun", "TrackedRuns", "UnreadableError", "read", "recognise"]


def read(
    path: str | PathLike[str],
    source: Source | None = None,
    *,
    unfinished: bool = False,
    count: Count | None = "without-embeddings",
) -> TrackedRuns:
    """
    Read the runs of a tracker's file, or of all its files in a folder and below it.

    `source` says whose they are, and is found by the files where it is left out. Runs that did not finish
    are left out and counted, unless `unfinished` asks for them; the service leaves them out, too, unless
    `where` chooses. `count` says which parameters of weights that lie beside the state of a Hugging Face
    run are counted, by `sparsity-planner measure`; None measures nothing.

    Raises `UnreadableError` for what is no file of that tracker. Files are read as the rows are asked for.
    """
    root = Path(path)
    if not root.exists():
        raise UnreadableError(f"{root} does not exist")
    if source is None:
        source = recognise(root)
    elif source not in SOURCES:
        raise UnreadableError(f"there is no reader for {source}; there are {', '.join(SOURCES)}")
    module = SOURCES[source]
    reader: Callable[[Path, list[str]], Iterable[TrackedRun]] = module.read
    if source == "huggingface":
        reader = partial(huggingface.read, count=count)

    def runs(notes: list[str]) -> Iterable[TrackedRun]:
        any_run = False
        for run in reader(root, notes):
            any_run = True
            yield run
        if not any_run:
            raise UnreadableError(f"{root} has no runs of {source}")

    return TrackedRuns(runs, module.READING, unfinished=unfinished)


def recognise(root: Path) -> Source:
    """
    Say whose files they are.

    Raises `UnreadableError` where they are nobody's that is known, or of several trackers.
    """
    kinds: set[Source] = set()
    files = [root] if root.is_file() else found(root, "*")
    for path in files:
        kind = _kind(path)
        if kind:
            kinds.add(kind)
    if (root / ".aim").is_dir() or root.name == ".aim":
        kinds = {"aim"}
    if len(kinds) == 1:
        return kinds.pop()
    if kinds:
        raise UnreadableError(f"{root} has files of several trackers, {', '.join(sorted(kinds))}: say which")
    raise UnreadableError(
        f"{root} has no file of a tracker that is known: *.wandb, trainer_state.json, *.tfevents.*, "
        "metrics.csv of Lightning, result.json of Ray, the folder mlruns, or SQLite of MLflow, Optuna or "
        "Trackio. Tables go to the service as they are"
    )


def _kind(path: Path) -> Source | None:
    if path.suffix == ".wandb":
        return "wandb"
    if path.name == huggingface.STATE:
        return "huggingface"
    if ".tfevents." in path.name:
        return "tensorboard"
    if path.name == lightning.TABLE:
        return "lightning"
    if path.name == ray.RESULTS:
        return "ray"
    if path.name == "meta.yaml" and "experiment_id" in read_text(path):
        return "mlflow"
    if path.suffix in SUFFIXES:
        if mlflow.is_database(path):
            return "mlflow"
        if optuna.is_database(path):
            return "optuna"
        if trackio.is_database(path):
            return "trackio"
    return None
