#!/usr/bin/env bash
# Ray Tune 2.60.0 with ZOOpt 0.4.2: the end of proposing comes far before the budget.
#
# suggest() returns None both for "ask later" and for "no more". Asked one at a time, with each
# result reported before the next question, ZOOpt returns None for good after its first batch; a
# loop that takes None for the end has run four trials, one that asks again gets no more.
#
# Seen: budget=50 gives 4 proposals, then None at the next 20 questions.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet 'ray[tune]==2.60.0' zoopt==0.4.2
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
space = {"x": tune.uniform(0, 1)}
searcher = create_searcher("zoopt", dim_dict=space, budget=50, **goal)
given, refused = 0, 0
for trial in range(50):
    point = searcher.suggest(str(trial))
    if not isinstance(point, dict):
        refused += 1
        if refused == 20:
            break
        continue
    given += 1
    searcher.on_trial_complete(str(trial), {"m": point["x"], "training_iteration": 1})
print("proposed", given, "refused", refused)
if not (given < 10 and refused == 20):
    sys.exit("changed")
EOF
