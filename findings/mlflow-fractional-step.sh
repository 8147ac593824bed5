#!/usr/bin/env bash
# MLflow 3.17.2, sqlite store: a step is not checked for being an integer.
#
# The client does not check the type, and sqlite keeps a fraction in an integer column. The
# history then holds a float where each reader expects an integer. A value given as the text "1.5"
# is converted, a step is not.
#
# Seen: step 1.7 comes back as 1.7 (float), value "1.5" as 1.5.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1
cd "$work"
"$venv/bin/python" - <<'EOF'
import logging
import os
import sys
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
logging.disable(logging.CRITICAL)
from mlflow import MlflowClient

client = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
experiment = client.create_experiment("e", artifact_location=str(Path.cwd() / "artifacts"))


def new_run():
    return client.create_run(experiment).info.run_id


run = new_run()
client.log_metric(run, "m", "1.5", step=1.7)
entry = client.get_metric_history(run, "m")[0]
print("value", entry.value, "step", entry.step)
if (entry.value, entry.step) != (1.5, 1.7):
    sys.exit("changed")
EOF
