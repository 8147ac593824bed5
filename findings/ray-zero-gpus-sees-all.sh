#!/usr/bin/env bash
# Ray 2.60.0: asking for no GPU is not being kept from one.
#
# Ray sets CUDA_VISIBLE_DEVICES for actors and tasks that ask for a GPU, a thousandth of one
# included. For num_gpus=0, and for none given, it leaves the variable alone: CUDA shows all
# devices, while ray.get_gpu_ids() says [].
#
# Seen on a node that claims one GPU: num_gpus=0 unset and [], num_gpus=1 "0" and [0].
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ray==2.60.0
cd "$work"
unset CUDA_VISIBLE_DEVICES
export HOME=$work
"$venv/bin/python" - <<'EOF'
import os
import sys
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray

local = {"address": "local", "num_cpus": 1, "num_gpus": 1, "include_dashboard": False}
quiet = {"logging_level": "ERROR", "log_to_driver": False}
ray.init(**local, **quiet, _node_ip_address="127.0.0.2")


@ray.remote(num_cpus=0)
class Actor:
    def look(self):
        return os.environ.get("CUDA_VISIBLE_DEVICES", "unset"), ray.get_gpu_ids()


seen = {}
for count in (0, 1):
    actor = Actor.options(num_gpus=count).remote()
    seen[count] = ray.get(actor.look.remote())
ray.shutdown()
print(seen)
if seen != {0: ("unset", []), 1: ("0", [0])}:
    sys.exit(f"changed: {seen}")
EOF
