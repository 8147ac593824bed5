#!/usr/bin/env bash
# MLflow 3.17.2, sqlite store: an infinite metric is stored as the largest float.
#
# Nothing warns. A reader that filters by math.isfinite takes the value for a measurement, and a
# mean over runs overflows. NaN survives.
#
# Seen: inf -> 1.7976931348623157e+308, -inf -> -1.7976931348623157e+308, nan -> nan.
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


def stored(value):
    run = new_run()
    client.log_metric(run, "m", value)
    return str(client.get_run(run).data.metrics["m"])


seen = [stored(float(text)) for text in ("inf", "-inf", "nan")]
print(seen)
if seen != ["1.7976931348623157e+308", "-1.7976931348623157e+308", "nan"]:
    sys.exit(f"changed: {seen}")
EOF
