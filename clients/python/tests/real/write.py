"""
Writes the same runs with each tracker's own package: `write.py FOLDER`.

Each has a run `good`, whose last evaluation is 2.5, and one that failed. `test_real_trackers.py` reads them.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {"nonzero_params": 20_000_000, "sparsity": 0.5, "data": 20_000_000_000}
DIGITS = 9007199254740993
LOSSES = (3.0, 2.75, 2.6, 2.5)


class Trial:
    """A trial of Ray needs a cluster; its logger asks it for no more than this."""

    def __init__(self, config: dict[str, Any], local_path: str) -> None:
        self.config, self.local_path = config, local_path

    def init_local_path(self) -> None:
        """The folder is there."""


class Failed(Exception):
    """How the other run ends."""


def write_wandb(folder: Path) -> None:
    import wandb

    os.environ["WANDB_SILENT"] = "true"
    config = {**CONFIG, "optim": {"lr": 0.1, "value": 3}, "seed": DIGITS}
    for name in ("good", "failed"):
        run = wandb.init(mode="offline", project="p", dir=str(folder), config=config, name=name, group="g")
        run.define_metric("lowest", summary="min")
        for step, loss in enumerate(LOSSES):
            run.log({"eval/loss": loss, "train": {"loss": 1.0}, "lowest": -step, "grad": math.nan}, step=step)
        run.config.update({"late": 1})
        run.summary["count"] = DIGITS
        run.finish(exit_code=0 if name == "good" else 1)
    # A process that is killed writes no exit, unless it uses the service of one that goes on.
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    program = (
        "import os, wandb; run = wandb.init(mode='offline', project='p', dir=os.environ['AT']);"
        "[run.log({'eval/loss': 9.0}) for _ in range(3)]; os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program], env={**environment, "AT": str(folder)}, check=False)


def write_mlflow(folder: Path) -> None:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow

    for uri in (f"sqlite:///{folder}/mlflow.db", f"file://{folder}/mlruns"):
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("sweeps")
        with mlflow.start_run(run_name="good"):
            mlflow.log_params({**CONFIG, "loss": "CrossEntropy", "seed": DIGITS})
            for step, loss in enumerate(LOSSES):
                mlflow.log_metric("val_loss", loss, step=step)
            mlflow.log_metric("eval/late", 1.0, step=20)
            mlflow.log_metric("eval/late", 9.0, step=10)
            mlflow.log_metric("inf", math.inf)
            mlflow.log_metric("nan", math.nan)
            mlflow.set_tag("team", "vision")
        try:
            with mlflow.start_run(run_name="failed"):
                raise Failed
        except Failed:
            pass
        client = mlflow.MlflowClient()
        experiment = mlflow.get_experiment_by_name("sweeps")
        client.create_run(experiment.experiment_id)
        with mlflow.start_run(run_name="deleted") as run:
            pass
        client.delete_run(run.info.run_id)


def write_tensorboard(folder: Path) -> None:
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder / "good")) as writer:
        for step, loss in enumerate(LOSSES):
            writer.add_scalar("eval/loss", loss, step)
        writer.add_text("note", "text", 1)
        writer.add_histogram("weights", [1.0, 2.0, 3.0], 1)
        writer.add_hparams({**CONFIG, "opt": "adam", "tied": True}, {"hp/loss": 2.5})


def write_optuna(folder: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{folder}/optuna.db"
    study = optuna.create_study(study_name="sweep", storage=storage)

    def objective(trial: Any) -> float:
        trial.suggest_float("sparsity", 0.5, 0.5)
        trial.suggest_categorical("width", [128, 256])
        trial.set_user_attr("nonzero_params", CONFIG["nonzero_params"])
        trial.set_user_attr("data", DIGITS)
        for step, loss in enumerate(LOSSES):
            trial.report(loss, step)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise Failed
        return math.inf if trial.number == 3 else 2.5

    study.optimize(objective, n_trials=4, catch=(Failed,))
    study.ask()


def write_trackio(folder: Path) -> None:
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio

    trackio.init(project="sweeps", name="good", config={**CONFIG, "seed": DIGITS, "optim": {"lr": 0.1}})
    for loss in LOSSES:
        trackio.log({"eval/loss": loss, "grad": math.nan, "up": math.inf})
    trackio.finish()


def write_huggingface(folder: Path) -> None:
    from transformers import GPT2Config
    from transformers.trainer_callback import TrainerState

    for name, steps in (("good", 100), ("failed", 50)):
        state = TrainerState(global_step=steps, max_steps=100, num_input_tokens_seen=CONFIG["data"])
        for step, loss in enumerate(LOSSES):
            state.log_history.append({"loss": 1.0, "grad_norm": math.nan, "step": step})
            state.log_history.append({"eval_loss": loss, "step": step})
        state.log_history.append({"train_loss": 1.5, "step": steps})
        checkpoint = folder / name / f"checkpoint-{steps}"
        checkpoint.mkdir(parents=True)
        state.save_to_json(str(checkpoint / "trainer_state.json"))
        GPT2Config(n_embd=64).save_pretrained(checkpoint)


def write_ray(folder: Path) -> None:
    from ray.tune.logger import JsonLoggerCallback

    for name, done in (("good", True), ("failed", False)):
        at = folder / "sweep" / name
        at.mkdir(parents=True)
        config = {**CONFIG, "optim": {"lr": 0.1}}
        trial: Any = Trial(config, str(at))
        logger = JsonLoggerCallback()
        logger._restore_from_remote = lambda *_: None
        for step, loss in enumerate(LOSSES):
            result = {"val_loss": loss, "grad": math.nan, "trial_id": name, "config": trial.config}
            last = step == len(LOSSES) - 1
            logger.log_trial_result(
                step, trial, {**result, "done": done and last, "training_iteration": step}
            )
        logger.log_trial_end(trial)


def write_aim(folder: Path) -> None:
    import aim

    run = aim.Run(
        repo=str(folder), experiment="sweep", system_tracking_interval=None, log_system_params=False
    )
    run.name = "good"
    run["hparams"] = {**CONFIG, "seed": DIGITS}
    for step, loss in enumerate(LOSSES):
        run.track(loss, name="loss", step=step, context={"subset": "val"})
    run.close()


WRITERS = {
    "wandb": write_wandb,
    "mlflow": write_mlflow,
    "tensorboard": write_tensorboard,
    "optuna": write_optuna,
    "trackio": write_trackio,
    "huggingface": write_huggingface,
    "ray": write_ray,
    "aim": write_aim,
}

if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    for name, write in WRITERS.items():
        (root / name).mkdir(parents=True)
        write(root / name)
        print(f"{name}: written", flush=True)
