#!/usr/bin/env bash
# MLflow 3.17.2: log_dict never refuses a value, and what it writes may not be read again.
#
# Into a .json artifact a set, or any object that JSON lacks, goes in as its str(); NaN and
# infinity go in as bare words, which are no JSON. Into a .yaml artifact a tuple goes in as
# !!python/tuple, which yaml.safe_load refuses. No call raises or warns.
#
# Seen: as above.
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


import json

import yaml


def refuse(text):
    raise ValueError(text)


run = new_run()
client.log_dict(run, {"set": {1}, "nan": float("nan")}, "a.json")
client.log_dict(run, {"tuple": (1, 2)}, "a.yaml")
text = next(Path.cwd().rglob("a.json")).read_text()
seen = {"set": json.loads(text)["set"]}
try:
    json.loads(text, parse_constant=refuse)
    seen["nan"] = "JSON"
except ValueError as error:
    seen["nan"] = str(error)
try:
    yaml.safe_load(next(Path.cwd().rglob("a.yaml")).read_text())
    seen["tuple"] = "loads"
except yaml.constructor.ConstructorError:
    seen["tuple"] = "ConstructorError"
print(seen)
if seen != {"set": "{1}", "nan": "NaN", "tuple": "ConstructorError"}:
    sys.exit(f"changed: {seen}")
EOF
