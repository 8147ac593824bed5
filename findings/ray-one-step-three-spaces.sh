#!/usr/bin/env bash
# Ray Tune 2.60.0 with Optuna 5.0.0, HyperOpt 0.3.0, HpBandSter 0.7.4: one entry, four spaces.
#
# Each searcher translates a quantised integer its own way: multiples of the step inside the
# bounds, the lower bound plus steps, rounded multiples (0 lies below the lower bound) or no step
# at all. No point of Optuna's space is in Ray's own, and only BOHB's warning says that it drops
# something.
#
# Seen over 200 draws: [4, 8], [1, 5, 9], [0, 4, 8], [1, 2, ..., 9].
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet 'ray[tune]==2.60.0' optuna==5.0.0 hyperopt==0.3.0 \
    hpbandster==0.7.4 ConfigSpace==1.2.2
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
space = {"n": tune.qrandint(1, 10, 4)}
seen = {"ray": {space["n"].sample() for _ in range(200)}}
for name in ("optuna", "hyperopt", "bohb"):
    searcher = create_searcher(name, space=space, **goal)
    seen[name] = {searcher.suggest(str(trial))["n"] for trial in range(200)}
print(seen)
expected = {
    "ray": {4, 8},
    "optuna": {1, 5, 9},
    "hyperopt": {0, 4, 8},
    "bohb": set(range(1, 10)),
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
