#!/usr/bin/env bash
# ConfigSpace 1.2.2: a choice is not returned as the object that was put in.
#
# Choices are kept in a numpy array where numpy finds a common type. Booleans come back as
# numpy.bool, which is not True and which json refuses; the value of generate_grid for an integer
# is numpy.int64, json refuses it too, while a sampled integer is a Python int.
#
# Seen: sampled bool numpy.bool (json: TypeError), sampled int int, grid int numpy.int64.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ConfigSpace==1.2.2 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import json
import sys

from ConfigSpace import ConfigurationSpace
from ConfigSpace.util import generate_grid

space = ConfigurationSpace({"flag": [True, False], "n": (0, 10)}, seed=0)
sample = space.sample_configuration()
grid = generate_grid(ConfigurationSpace({"n": (0, 10)}), {"n": 3})
values = {"flag": sample["flag"], "n": sample["n"], "grid": grid[0]["n"]}
seen = {}
for name, value in values.items():
    try:
        json.dumps(value)
        seen[name] = (type(value).__module__, "JSON")
    except TypeError:
        seen[name] = (type(value).__module__, "TypeError")
print(seen)
expected = {
    "flag": ("numpy", "TypeError"),
    "n": ("builtins", "JSON"),
    "grid": ("numpy", "TypeError"),
}
if seen != expected:
    sys.exit(f"changed: {seen}")
EOF
