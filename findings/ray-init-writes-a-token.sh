#!/usr/bin/env bash
# Ray 2.60.0: a local start changes the environment and the home of whoever runs it.
#
# With RAY_AUTH_MODE unset, ray.init() sets it to "token" in os.environ, so each child process of
# the driver inherits it, and creates .ray/auth_token in the home, which stays there. A driver
# with another home does not have the token.
#
# Seen: RAY_AUTH_MODE "token" and .ray/auth_token in an empty home, both still there after
# ray.shutdown().
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ray==2.60.0
cd "$work"
unset RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH
export HOME=$work
"$venv/bin/python" - <<'EOF'
import os
import sys
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray

local = {"address": "local", "num_cpus": 1, "include_dashboard": False}
quiet = {"logging_level": "ERROR", "log_to_driver": False}
ray.init(**local, **quiet, _node_ip_address="127.0.0.2")
ray.shutdown()
token = Path.home() / ".ray" / "auth_token"
seen = (os.environ.get("RAY_AUTH_MODE"), token.exists())
print("RAY_AUTH_MODE, token file:", seen)
if seen != ("token", True):
    sys.exit(f"changed: {seen}")
EOF
