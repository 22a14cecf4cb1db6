#!/usr/bin/env bash
# optuna 5.0.0: a whole number beyond 2^53 that a trial was given is another number in the study, whatever the storage
# is said to keep.
#
# Seen: a trial enqueued with seed 9007199254740993 sees 9007199254740993 in `suggest_int`, and `study.trials[0].params`
# and `study.best_params` say 9007199254740992 (SQLite stores parameters as floating-point numbers). An attribute of
# the trial with the same number keeps its digits.
#
# Why it matters: a run cannot be repeated from its study, and names of runs made of such a seed or hash are not those
# of the training. `trial.set_user_attr` keeps them.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
SEED = 2**53 + 1
study = optuna.create_study(storage=f"sqlite:///{sys.argv[1]}/study.db")
study.enqueue_trial({"seed": SEED})
seen = []


def objective(trial):
    seen.append(trial.suggest_int("seed", 0, 2**62))
    trial.set_user_attr("seed", seen[0])
    return 1.0


study.optimize(objective, n_trials=1)
(trial,) = study.trials
found = {"trial": seen[0], "params": trial.params["seed"], "best": study.best_params["seed"]}
found["attribute"] = trial.user_attrs["seed"]
print(found)
sys.exit(found != {"trial": SEED, "params": SEED - 1, "best": SEED - 1, "attribute": SEED})
PYTHON
