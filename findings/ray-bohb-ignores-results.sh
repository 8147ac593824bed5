#!/usr/bin/env bash
# Ray Tune 2.60.0 with HpBandSter 0.7.4: completed results do not reach the model.
#
# A Searcher is told of results by on_trial_complete. TuneBOHB takes no notice of it; only the
# calls that HyperBandForBOHB makes feed its model. Used with another scheduler or a loop of one's
# own it is a random search that never says so.
#
# Seen with one seed over 40 trials: minimising x and minimising -x get the same proposals;
# Optuna's differ.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet 'ray[tune]==2.60.0' hpbandster==0.7.4 ConfigSpace==1.2.2 \
    optuna==5.0.0
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
import numpy as np


def proposals(name, sign):
    np.random.seed(0)
    searcher = create_searcher(name, space={"x": tune.uniform(0, 1)}, seed=1, **goal)
    points = []
    for trial in range(40):
        x = searcher.suggest(str(trial))["x"]
        points.append(float(x))
        searcher.on_trial_complete(str(trial), {"m": sign * x, "training_iteration": 1})
    return points


seen = {name: proposals(name, 1) == proposals(name, -1) for name in ("bohb", "optuna")}
print("same proposals for opposite results:", seen)
if seen != {"bohb": True, "optuna": False}:
    sys.exit(f"changed: {seen}")
EOF
