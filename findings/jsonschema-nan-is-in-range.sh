#!/usr/bin/env bash
# jsonschema 4.26.0: NaN satisfies every minimum and maximum.
#
# Python's json module reads and writes NaN, and jsonschema asks whether a number is below the
# minimum or above the maximum, which NaN never is. A report with a NaN speedup is valid under
# {"minimum": 0, "maximum": 1}. pydantic refuses NaN for the same limits.
#
# Seen: json.loads('NaN') valid for minimum 0 and maximum 1, for exclusiveMinimum 0, and as an item
# of an array; 2 is invalid; pydantic refuses NaN.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet jsonschema==4.26.0 pydantic==2.14.4
cd "$work"
"$venv/bin/python" - <<'EOF'
import json
import sys
from typing import Annotated

from jsonschema import Draft202012Validator
from pydantic import Field, TypeAdapter, ValidationError

limits = {"type": "number", "minimum": 0, "maximum": 1}


def valid(schema, text):
    return Draft202012Validator(schema).is_valid(json.loads(text))


def in_pydantic(number):
    try:
        TypeAdapter(Annotated[float, Field(ge=0, le=1)]).validate_python(number)
    except ValidationError:
        return False
    return True


seen = {
    "NaN": valid(limits, "NaN"),
    "exclusive": valid({"exclusiveMinimum": 0}, "NaN"),
    "item": valid({"type": "array", "items": limits}, "[0.5, NaN]"),
    "2": valid(limits, "2"),
    "pydantic": in_pydantic(float("nan")),
}
print(seen)
if list(seen.values()) != [True, True, True, False, False]:
    sys.exit(f"changed: {seen}")
EOF
