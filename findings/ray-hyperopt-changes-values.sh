#!/usr/bin/env bash
# Ray Tune 2.60.0 with Optuna 5.0.0 and HyperOpt 0.3.0: the same space, other configurations.
#
# A trial's configuration depends on the searcher beyond its numbers. HyperOpt turns each list
# among the choices into a tuple, which no longer equals the list and is another JSON round trip;
# a constant next to the choices arrives from HyperOpt and is missing from Optuna.
#
# Seen: HyperOpt {"tile": (16, 16), "kind": "a"}, Optuna {"tile": [16, 16]}.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet 'ray[tune]==2.60.0' optuna==5.0.0 hyperopt==0.3.0
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
space = {"tile": tune.choice([[16, 16]]), "kind": "a"}
seen = {}
for name in ("hyperopt", "optuna"):
    seen[name] = dict(create_searcher(name, space=space, **goal).suggest("t"))
print(seen)
expected = {"hyperopt": {"tile": (16, 16), "kind": "a"}, "optuna": {"tile": [16, 16]}}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
