"""
Hugging Face: the `trainer_state.json` of a `Trainer`, with the `config.json` of the model beside it.

| in the state | is |
|---|---|
| `eval_loss` of the last entry of `log_history` that has one | the validation loss; `loss` is of training |
| `num_input_tokens_seen` | the data, where `TrainingArguments` asked for it; else 0, which is no data |
| `total_flos` | 6 x all parameters but those of the input embedding x tokens, padding included |
| `global_step` below `max_steps` | a run that did not come to its end |

Weights beside the state are measured by the service's program, where it is installed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .._tracked import TrackedRun
from ._files import UnreadableError, flattened, found, parsed_object, place, read_bytes, unnamed

READING = {"source": "mlflow"}

STATE = "trainer_state.json"
PROGRAM = "sparsity-planner"
NO_TOKENS = (
    "num_input_tokens_seen is 0, as TrainingArguments(include_num_input_tokens_seen='non_padding') did not "
    "ask for it; map=data:global_step*... computes it from steps, sequences a step and tokens a sequence"
)
NO_LOSS = (
    "no entry of log_history has eval_loss: TrainingArguments(eval_strategy='steps') or trainer.evaluate() "
    "measures it; loss and train_loss there are those of training"
)


def read(root: Path, notes: list[str], count: str | None = "without-embeddings") -> Iterator[TrackedRun]:
    """Yield the newest state of each run; `count` is the option of `measure`, None measures nothing."""
    newest: dict[Path, tuple[int, Path, dict[str, Any]]] = {}
    older = 0
    for path in found(root, STATE):
        state = parsed_object(read_bytes(path), str(path))
        step = state.get("global_step")
        if not isinstance(state.get("log_history"), list) or not isinstance(step, int):
            raise UnreadableError(f"{path} is no state of a Trainer: it has no log_history or no global_step")
        folder = path.parent
        # A run keeps its checkpoints in its folder, each with the state of its time.
        run = folder.parent if folder.name.startswith("checkpoint-") else folder
        older += run in newest
        # Of two states of one step the one of the run itself, which has what was logged at its end.
        if run not in newest or (step, folder == run) > (newest[run][0], newest[run][1].parent == run):
            newest[run] = (step, path, state)
    if older:
        notes.append(f"{older} older checkpoints of the same runs are not read")
    for run, (_, path, state) in sorted(newest.items()):
        yield _run(root, run, path, state, count, notes)


def _run(
    root: Path, run: Path, path: Path, state: Mapping[str, Any], count: str | None, notes: list[str]
) -> TrackedRun:
    where = place(root, run)
    row: dict[str, Any] = {**where, "external_id": state.get("trial_name")}
    absent = {} if row["external_id"] else unnamed(where)
    _add_evaluation(path, state, row, absent, notes)
    tokens = state.get("num_input_tokens_seen")
    if tokens:
        row["data"] = tokens
    else:
        absent["data"] = NO_TOKENS
    for key in ("global_step", "max_steps", "epoch", "total_flos", "train_batch_size", "best_metric"):
        row[key] = state.get(key)
    if isinstance(state.get("trial_params"), dict):
        flattened(state["trial_params"], "params", row, str(path))
    for config in (path.parent / "config.json", run / "config.json"):
        if config.is_file():
            flattened(parsed_object(read_bytes(config), str(config)), "params.config", row, str(config))
            break
    row |= _measured(path.parent, count, notes, absent)
    row["status"] = "finished"
    unfinished = None
    most = state.get("max_steps")
    if isinstance(most, int) and state["global_step"] < most:
        row["status"], unfinished = "terminated_early", "global_step is below max_steps"
    return TrackedRun(row, str(path), unfinished, absent)


def _add_evaluation(
    path: Path, state: Mapping[str, Any], row: dict[str, Any], absent: dict[str, str], notes: list[str]
) -> None:
    """Add what the last evaluation measured, and say where that may not be of the model at the end."""
    history = [entry for entry in state["log_history"] if isinstance(entry, dict)]
    evaluations = [entry for entry in history if any(key.startswith("eval_") for key in entry)]
    with_loss = [entry for entry in evaluations if "eval_loss" in entry]
    last = next(reversed(with_loss or evaluations), {})
    row |= {f"metrics.{key}": value for key, value in last.items() if key.startswith("eval_")}
    if not with_loss:
        losses = sorted(key for key in last if key.startswith("eval_") and key.endswith("_loss"))
        several = f"; there are {', '.join(losses)}: map=loss:metrics.NAME chooses one" if losses else ""
        absent["loss"] = NO_LOSS + several
        return
    step, best = last.get("step"), state.get("best_global_step")
    if step not in (None, state["global_step"]):
        notes.append(f"{path}: the last evaluation is of step {step} of {state['global_step']}")
    if best not in (None, step):
        notes.append(
            f"{path}: the best step is {best}; with load_best_model_at_end the weights are of that step, and "
            f"the loss is of step {step}"
        )


def _measured(folder: Path, count: str | None, notes: list[str], absent: dict[str, str]) -> dict[str, Any]:
    """Return size, sparsity and pattern of the weights in a folder, where they can be measured."""
    advice = f"{PROGRAM} measure DIR counts them, map=nonzero_params:NUMBER or :COLUMN says them"
    if count is None:
        absent["nonzero_params"] = advice
        return {}
    if not any(folder.glob("*.safetensors")):
        absent["nonzero_params"] = f"no *.safetensors lie beside the state; {advice}"
        return {}
    program = shutil.which(PROGRAM)
    if not program:
        absent["nonzero_params"] = f"weights lie beside the state, and {PROGRAM} is not on PATH: {advice}"
        return {}
    command = [program, "measure", "--json", "--count", count, "--", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        absent["nonzero_params"] = f"{PROGRAM} measure refused the weights: {lines[-1]}"
        return {}
    answer = json.loads(done.stdout)
    notes += [f"{folder}: {warning['detail']}" for warning in answer["measurement"].get("warnings", ())]
    fields: dict[str, Any] = answer["run"]
    return fields
