#!/usr/bin/env bash
# MLflow 3.17.2, sqlite store: a search for runs whose tag is not x leaves out the runs without the
# tag.
#
# tags.k != 'x' and params.k != 'x' compare only runs that have the key, as a join in SQL does. The
# two searches k = 'x' and k != 'x' together do not return all runs, and a report that excludes
# what it does not want loses the runs of an older version, which did not set the tag. IS NULL
# finds them.
#
# Seen: of the runs a (k=x), b (k=y) and c (no k), = finds a, != finds b, IS NULL finds c, for tags
# and parameters.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet mlflow-skinny==3.17.2 sqlalchemy==2.1.9 \
    alembic==1.20.1
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
for name, value in (("a", "x"), ("b", "y"), ("c", None)):
    run = client.create_run(experiment, run_name=name).info.run_id
    if value:
        client.set_tag(run, "k", value)
        client.log_param(run, "k", value)


def found(text):
    return "".join(sorted(run.info.run_name for run in client.search_runs([experiment], text)))


seen = {}
for what in ("tags", "params"):
    for test in ("= 'x'", "!= 'x'", "IS NULL"):
        seen[f"{what}.k {test}"] = found(f"{what}.k {test}")
print(seen)
if list(seen.values()) != ["a", "b", "c"] * 2:
    sys.exit(f"changed: {seen}")
EOF
