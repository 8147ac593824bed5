#!/usr/bin/env bash
# jax 0.10.2: a histogram of a thousand bfloat16 values counts 256.
#
# jnp.histogram without weights counts in the dtype of the data, one by one, and 256 + 1 is 256 in
# bfloat16; in float16 it stops at 2048. segment_sum and x.at[i].add stop in the same place while
# sum, cumsum and dot give 1000. numpy counts in integers, for float16 too.
#
# Seen for 1,000 equal values: histogram [0, 256] in bfloat16, segment_sum 256, at.add 256, sum and
# cumsum 1000; 5,000 in float16: 2048 (numpy 5000).
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

import numpy as np

logging.disable(logging.WARNING)
import jax
import jax.numpy as jnp

ones, zeros = jnp.ones(1000, jnp.bfloat16), jnp.zeros(1000, int)
half = np.ones(5000, np.float16)
seen = {
    "histogram": int(jnp.histogram(ones, bins=2)[0].max()),
    "segment_sum": int(jax.ops.segment_sum(ones, zeros, 1)[0]),
    "at.add": int(jnp.zeros(1, jnp.bfloat16).at[zeros].add(1)[0]),
    "sum": int(ones.sum()),
    "cumsum": int(ones.cumsum()[-1]),
    "float16": int(jnp.histogram(jnp.asarray(half), bins=2)[0].max()),
    "numpy float16": int(np.histogram(half, bins=2)[0].max()),
}
print(seen)
if list(seen.values()) != [256, 256, 256, 1000, 1000, 2048, 5000]:
    sys.exit("changed")
EOF
