#!/usr/bin/env bash
# MLflow 3.17.2, sqlite store: a correction downwards is stored and not shown.
#
# A run's current value of a metric is the one with the largest (step, timestamp, value). A client
# that logs its own timestamp, or logs twice within one millisecond, cannot replace a value by a
# smaller one: the history has both, the run keeps the larger. NaN counts as smallest.
#
# Seen: 5 then 3 at the same step and time shows 5; 1 then NaN shows 1; with a later time, 3.
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


def shown(*entries):
    run = new_run()
    for value, time in entries:
        client.log_metric(run, "m", value, timestamp=time, step=0)
    history = client.get_metric_history(run, "m")
    return client.get_run(run).data.metrics["m"], len(history)


seen = [
    shown((5.0, 1000), (3.0, 1000)),
    shown((1.0, 1000), (float("nan"), 1000)),
    shown((5.0, 1000), (3.0, 2000)),
]
print(seen)
if seen != [(5.0, 2), (1.0, 2), (3.0, 2)]:
    sys.exit(f"changed: {seen}")
EOF
