#!/usr/bin/env bash
# Ray Tune 2.60.0 with bayesian-optimization 1.5.1: "no seed" means seed 42.
#
# random_state defaults to a constant, so two sweeps that were meant as independent repeats run
# the same trials. Optuna's searcher starts somewhere else each time when no seed is given.
#
# Seen: both propose 0.3745401188473625 first, then the same next two; two Optuna searchers
# differ.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet 'ray[tune]==2.60.0' bayesian-optimization==1.5.1 \
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
def first(name):
    searcher = create_searcher(name, space={"x": tune.uniform(0, 1)}, **goal)
    return [float(searcher.suggest(str(trial))["x"]) for trial in range(3)]


bayesopt, optuna = [first("bayesopt") for _ in range(2)], [first("optuna") for _ in range(2)]
print("bayesopt", bayesopt)
print("optuna", optuna)
if bayesopt[0] != bayesopt[1] or optuna[0] == optuna[1]:
    sys.exit("changed")
EOF
