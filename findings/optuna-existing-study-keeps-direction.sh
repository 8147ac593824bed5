#!/usr/bin/env bash
# Optuna 5.0.0: create_study(direction='maximize', load_if_exists=True) returns a study that
# minimises.
#
# If the name exists, the direction in the call is neither applied nor compared. A script that was
# changed from latency to throughput goes on in its old storage, and best_trial is the slowest one.
# The sampler looks for smaller values too. The only message is the one for every reopened study.
#
# Seen: created with minimize, reopened with maximize: direction MINIMIZE; of the values 1, 2 and 3
# best_value is 1. No warning is raised.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet optuna==5.0.0
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
name = {"study_name": "s", "storage": "sqlite:///study.db"}
optuna.create_study(**name, direction="minimize")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    study = optuna.create_study(**name, direction="maximize", load_if_exists=True)
for value in (1.0, 2.0, 3.0):
    study.tell(study.ask(), value)
about = [str(one.message) for one in caught if "direction" in str(one.message)]
seen = (study.direction.name, study.best_value, about)
print("direction, best value, warnings:", seen)
if seen != ("MINIMIZE", 1.0, []):
    sys.exit(f"changed: {seen}")
EOF
