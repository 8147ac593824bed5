#!/usr/bin/env bash
# PyYAML 6.0.3 and ruamel.yaml 0.19.1: valid output of one changes type when the other reads it.
#
# PyYAML knows YAML 1.1 and ruamel.yaml 1.2, and each quotes only what it would misread itself.
# Strings that look like numbers or switches to the other side, and floats with an exponent and no
# dot, change their type on the way, both directions, without a warning.
#
# Seen: PyYAML's '1e5' -> 100000.0 and '0o10' -> 8 in ruamel.yaml; ruamel.yaml's 1e-05 -> '1e-05',
# 'on' -> True, '12:30' -> 750 in PyYAML. The plain text 010 is 8 for PyYAML and 10 for the other.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pyyaml==6.0.3 ruamel.yaml==0.19.1
cd "$work"
"$venv/bin/python" - <<'EOF'
import io
import sys

import yaml
from ruamel.yaml import YAML


def write_ruamel(value):
    buffer = io.StringIO()
    YAML(typ="safe").dump([value], buffer)
    return buffer.getvalue()


def read_ruamel(text):
    return YAML(typ="safe").load(text)[0]


to_ruamel = [read_ruamel(yaml.safe_dump([value])) for value in ("1e5", "0o10")]
to_pyyaml = [yaml.safe_load(write_ruamel(v))[0] for v in (1e-05, "on", "12:30")]
octal = (yaml.safe_load("[010]")[0], read_ruamel("[010]"))
print(to_ruamel, to_pyyaml, octal)
if (to_ruamel, to_pyyaml, octal) != ([100000.0, 8], ["1e-05", True, 750], (8, 10)):
    sys.exit("changed")
EOF
