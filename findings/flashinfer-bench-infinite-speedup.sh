#!/usr/bin/env bash
# flashinfer-bench 0.1.2 with pydantic 2.14.3: one record survives a round trip and its sibling
# not.
#
# A latency of zero gives an infinite speedup_factor, which the model accepts. model_dump_json
# writes null for it and model_validate_json raises ValidationError. Correctness writes NaN as a
# string and reads it back; in its free-form "extra" field the NaN comes back as the text 'NaN'.
#
# Seen: Performance ValidationError; Correctness nan; extra 'NaN'.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 pydantic==2.14.3 \
    safetensors==0.8.0 docstring-parser==0.17.0
cd "$work"
"$venv/bin/python" -m pip install --quiet --no-deps flashinfer-bench==0.1.2
export FIB_CACHE_PATH=$work HOME=$work
"$venv/bin/python" - <<'EOF'
import math
import sys

from flashinfer_bench import Correctness, Performance


def again(record):
    return type(record).model_validate_json(record.model_dump_json())


fast = Performance(latency_ms=0.0, reference_latency_ms=1.0, speedup_factor=math.inf)
try:
    seen = [again(fast).speedup_factor]
except ValueError as error:
    seen = [type(error).__name__]
checked = again(Correctness(max_relative_error=math.nan, extra={"mean": math.nan}))
seen += [str(checked.max_relative_error), checked.extra["mean"]]
print(seen)
if seen != ["ValidationError", "nan", "NaN"] or not isinstance(seen[2], str):
    sys.exit(f"changed: {seen}")
EOF
