#!/usr/bin/env bash
# MLflow 3.17.2 with pandas 3.1.1: load_table returns dates and rounded numbers for what log_table
# was given.
#
# The table travels as JSON through pandas, which writes ten decimals and, on reading, takes a
# column for dates if its name is date, begins with timestamp or ends in _time or _at, and all its
# numbers exceed 31,536,000 (the seconds of a year). So a column kernel_time in nanoseconds changes
# its type when the kernels get slower than 31.5 ms, and a time in seconds loses its digits.
#
# Seen: kernel_time [4e7, 5e7] -> two days in 1971, [3e7, 2e7] stays; 1.23456789012e-07 s ->
# 1.235e-07, 1e-11 s -> 0.0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet mlflow-skinny==3.17.2 sqlalchemy==2.1.9 \
    alembic==1.20.1 pandas==3.1.1 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import logging
import os
import sys
import warnings
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from mlflow import MlflowClient

client = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
experiment = client.create_experiment("e", artifact_location=str(Path.cwd() / "artifacts"))


def back(table):
    run = client.create_run(experiment).info.run_id
    client.log_table(run, table, "table.json")
    return client.load_table(experiment, "table.json", [run])


slow = back({"kernel_time": [4e7, 5e7], "seconds": [1.23456789012e-7, 1e-11]})
fast = back({"kernel_time": [3e7, 2e7]})
dates = [str(value) for value in slow["kernel_time"]]
seconds = [float(f"{value:.6g}") for value in slow["seconds"]]
numbers = [float(value) for value in fast["kernel_time"]]
print("kernel_time", dates, "or", numbers, "seconds", seconds)
if not dates[0].startswith("1971-04-08") or numbers != [3e7, 2e7] or seconds != [1.235e-7, 0.0]:
    sys.exit("changed")
EOF
