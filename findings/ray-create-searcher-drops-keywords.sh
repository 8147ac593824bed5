#!/usr/bin/env bash
# Ray Tune 2.60.0: the constructor refuses a misspelt keyword, the factory swallows it.
#
# OptunaSearch(sead=3) raises TypeError; create_searcher("optuna", sead=3) builds an unseeded
# searcher. The searchers do not agree on the name of the space either: space= is dropped for
# ZOOpt, which wants dim_dict=, and the complaint about a missing space comes at the first
# suggest().
#
# Seen: no error for sead; two such searchers differ; ZOOpt raises RuntimeError at suggest().
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet 'ray[tune]==2.60.0' optuna==5.0.0 zoopt==0.4.2
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
from ray.tune.search.optuna import OptunaSearch

space = {"x": tune.uniform(0, 1)}
points = []
for _ in range(2):
    searcher = create_searcher("optuna", space=space, sead=3, **goal)
    points.append(searcher.suggest("a")["x"])
seen = {"factory": "unseeded" if points[0] != points[1] else "seeded"}
try:
    OptunaSearch(space=space, sead=3, **goal)
    seen["class"] = "built"
except TypeError:
    seen["class"] = "TypeError"
zoopt = create_searcher("zoopt", space=space, budget=10, **goal)
try:
    seen["zoopt"] = zoopt.suggest("a")
except RuntimeError:
    seen["zoopt"] = "RuntimeError"
print(seen)
if seen != {"factory": "unseeded", "class": "TypeError", "zoopt": "RuntimeError"}:
    sys.exit(f"changed: {seen}")
EOF
