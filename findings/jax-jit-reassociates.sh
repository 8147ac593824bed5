#!/usr/bin/env bash
# jax 0.10.2, CPU: jax.jit changes (x + 1e8) - 1e8 from 0 to 1.
#
# XLA merges two constants that are added one after the other, and a factor with a divisor, though
# the rounding in between was the point (a trick to round, a shift against cancellation). An
# overflow of float16 in between vanishes, x + 0.0 no longer turns -0.0 into 0.0, and x * x - 1 is
# fused. Without jit each step is rounded.
#
# Seen, without and with jit: (x + 1e8) - 1e8 for 1: 0 and 1; (x * 2) / 2 for 60000 in float16: inf
# and 60000; -0.0 + 0.0: 0.0 and -0.0; x * x - 1 for 1 + 2**-12: 0.00048828125 and 0.00048834085.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet jax==0.10.2 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import logging
import sys

logging.disable(logging.WARNING)
import jax
import jax.numpy as jnp

cases = {
    "(x + 1e8) - 1e8": (lambda x: (x + 1e8) - 1e8, jnp.float32(1)),
    "(x * 2) / 2": (lambda x: (x * 2) / 2, jnp.float16(60000)),
    "x + 0.0": (lambda x: x + 0.0, jnp.float32(-0.0)),
    "x * x - 1": (lambda x: x * x - 1.0, jnp.float32(1 + 2**-12)),
}
seen = {
    name: [f"{float(way(x)):.8g}" for way in (function, jax.jit(function))]
    for name, (function, x) in cases.items()
}
print("(without jit, with):", seen)
if list(seen.values()) != [
    ["0", "1"],
    ["inf", "60000"],
    ["0", "-0"],
    ["0.00048828125", "0.00048834085"],
]:
    sys.exit("changed")
EOF
