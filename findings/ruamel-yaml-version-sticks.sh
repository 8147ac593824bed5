#!/usr/bin/env bash
# ruamel.yaml 0.19.1: a YAML() object remembers the version directive of an earlier document.
#
# By default ruamel.yaml reads YAML 1.2, where on and no are strings and 010 is ten. A document
# that begins with %YAML 1.1 is read by the old rules, and so is every document that the same
# object loads afterwards, although it has no directive.
#
# Seen (pure=True): "a: on" alone is 'on'; after a 1.1 document the same object returns True.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ruamel.yaml==0.19.1
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

from ruamel.yaml import YAML

reader = YAML(typ="safe", pure=True)
before = reader.load("a: on")["a"]
reader.load("%YAML 1.1\n---\na: on")
after = reader.load("a: on")["a"]
fresh = YAML(typ="safe", pure=True).load("a: on")["a"]
print("before", repr(before), "after", repr(after), "a new object", repr(fresh))
if (before, after, fresh) != ("on", True, "on"):
    sys.exit("changed: the directive no longer sticks")
EOF
