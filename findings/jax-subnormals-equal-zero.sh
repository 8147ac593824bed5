#!/usr/bin/env bash
# jax 0.10.2, CPU: a subnormal number prints as itself and equals zero and every other subnormal.
#
# XLA runs with denormals treated as zero, in comparisons as well as in arithmetic. Storage, abs
# and a copy to numpy keep the bits. jnp.array_equal and isclose with zero tolerances therefore
# accept different arrays, which numpy and torch tell apart; a reference in jax cannot test small
# values.
#
# Seen: 1e-40 == 0 True, array_equal([1e-40], [2e-40]) True (numpy False), 1e-39 * 2 is 0, 1e-30 *
# 1e-9 is 0, numpy.asarray still holds 1e-40.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet jax==0.10.2 jaxlib==0.10.2 ml-dtypes==0.6.0 \
    numpy==2.4.6
cd "$work"
export JAX_PLATFORMS=cpu
"$venv/bin/python" - <<'EOF'
import sys

import jax.numpy as jnp
import numpy as np

small, other = np.float32([1e-40]), np.float32([2e-40])
held = jnp.array(small)
seen = {
    "== 0": bool((held == 0)[0]),
    "array_equal": bool(jnp.array_equal(held, jnp.array(other))),
    "numpy array_equal": bool(np.array_equal(small, other)),
    "doubled": float((held * 2)[0]),
    "product": float(jnp.float32(1e-30) * jnp.float32(1e-9)),
    "held": float(np.asarray(held)[0]) > 0,
}
print(seen)
if list(seen.values()) != [True, True, False, 0.0, 0.0, True]:
    sys.exit(f"changed: {seen}")
EOF
