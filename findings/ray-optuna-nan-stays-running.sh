#!/usr/bin/env bash
# Ray Tune 2.60.0 with Optuna 5.0.0: a NaN result is lost between the two.
#
# on_trial_complete raises nothing for NaN. Optuna does not take the value, the trial is neither
# failed nor complete, and samplers that count running trials count it from then on. Infinity is
# taken as a value, and stretches the model that is fitted to all values.
#
# Seen: nan -> RUNNING, inf -> COMPLETE, 1.0 -> COMPLETE. Read from the searcher's own study.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet 'ray[tune]==2.60.0' optuna==5.0.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import logging
import os
import sys
import warnings

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
from ray import tune
from ray.tune.search import create_searcher

goal = {"metric": "m", "mode": "min"}
searcher = create_searcher("optuna", space={"x": tune.uniform(0, 1)}, **goal)
for name, value in (("a", float("nan")), ("b", float("inf")), ("c", 1.0)):
    searcher.suggest(name)
    searcher.on_trial_complete(name, {"m": value, "training_iteration": 1})
seen = [trial.state.name for trial in searcher._ot_study.trials]
print(seen)
if seen != ["RUNNING", "COMPLETE", "COMPLETE"]:
    sys.exit(f"changed: {seen}")
EOF
