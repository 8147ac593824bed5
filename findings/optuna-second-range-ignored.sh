#!/usr/bin/env bash
# optuna 5.0.0: a trial remembers a parameter by name and not by range.
#
# The second suggest_int of a name returns the value of the first, whatever bounds it is given; a
# logged warning is all. Another kind (float after int) raises ValueError. So a search space built
# in a loop with a repeated name has fewer parameters than it seems, with values out of bounds.
#
# Seen: both calls return the same value between 0 and 5; suggest_float of the name raises.
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
trial = optuna.create_study().ask()
first = trial.suggest_int("n", 0, 5)
second = trial.suggest_int("n", 10, 20)
try:
    trial.suggest_float("n", 0, 1)
    kind = "accepted"
except ValueError:
    kind = "ValueError"
print(first, second, kind)
if not (first == second <= 5 and kind == "ValueError"):
    sys.exit("changed")
EOF
