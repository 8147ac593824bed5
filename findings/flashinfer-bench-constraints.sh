#!/usr/bin/env bash
# flashinfer-bench 0.1.2: constraints describe, they do not constrain.
#
# A Definition may say "n % 16 == 0". The schema checks that this is a Python expression. Shapes
# for n = 7 are given out, inputs are generated, and an expression over an axis that does not
# exist is accepted too. A syntax error is refused.
#
# Seen: get_input_shapes({"n": 7}) returns [[7]]; "m == 3" without an axis m is accepted.
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
import sys

from flashinfer_bench import Definition


def define(constraint):
    vector = {"shape": ["n"], "dtype": "float32"}
    return Definition(
        name="copy",
        op_type="copy",
        axes={"n": {"type": "var"}},
        inputs={"x": vector},
        outputs={"y": vector},
        reference="def run(x):\n    return x",
        constraints=[constraint],
    )


shapes = [list(shape) for shape in define("n % 16 == 0").get_input_shapes({"n": 7})]
unknown = define("m == 3").constraints
try:
    define("n %")
    broken = "accepted"
except ValueError:
    broken = "refused"
print(shapes, unknown, broken)
if (shapes, unknown, broken) != ([[7]], ["m == 3"], "refused"):
    sys.exit("changed")
EOF
