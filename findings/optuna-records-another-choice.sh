#!/usr/bin/env bash
# optuna 5.0.0: a finished trial says that it ran a choice that it did not run.
#
# suggest_categorical hands out each choice and stores its position, found by equality. Choices
# that Python holds equal (1, True, 1.0; 0, False) are stored as the first of them: samplers learn
# from wrong records and a rerun of the best parameters runs something else. No warning. As
# strings all is well.
#
# Seen over 30 trials: proposed {1, True, 1.0}, recorded {1}; proposed {0, False}, recorded {0}.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet optuna==5.0.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.CRITICAL)


def compare(choices):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposed = set()
    for _ in range(30):
        trial = study.ask()
        proposed.add(repr(trial.suggest_categorical("c", choices)))
        study.tell(trial, 0.0)
    recorded = {repr(trial.params["c"]) for trial in study.trials}
    return proposed, recorded


seen = [compare([1, True, 1.0]), compare([0, False]), compare(["0", "False"])]
print("(proposed, recorded):", seen)
texts = {"'0'", "'False'"}
expected = [({"1", "True", "1.0"}, {"1"}), ({"0", "False"}, {"0"}), (texts, texts)]
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
