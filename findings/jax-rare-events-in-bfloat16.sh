#!/usr/bin/env bash
# jax 0.10.2: an event of probability 0.001 happens eight times as often when the probability is a
# bfloat16.
#
# jax.random.bernoulli draws its uniform number in the dtype of p. In bfloat16 it has 128 values,
# so every p below 1/128 is drawn as 1/128 and p = 0.999 always happens. choice with p in bfloat16
# picks one of three equally rare items and never the others. A mask for dropout follows its
# parameter's dtype silently. torch draws rightly.
#
# Seen for 4,000,000 draws: 0.00776 for 0.001 in bfloat16, 1.0 for 0.999; float32 0.00100; choice
# with three items of 0.0025: two of them never; torch.bernoulli of bfloat16 0.0010.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet jax==0.10.2 torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import logging
import sys

logging.disable(logging.WARNING)
import jax
import jax.numpy as jnp
import torch

key, draws = jax.random.key(0), 4_000_000
torch.manual_seed(0)


def rate(p, dtype):
    return float(jax.random.bernoulli(key, jnp.asarray(p, dtype), (draws,)).mean())


weights = jnp.asarray([0.9925, 0.0025, 0.0025, 0.0025], jnp.bfloat16)
picked = jnp.bincount(jax.random.choice(key, 4, (draws,), p=weights), length=4).tolist()
theirs = torch.bernoulli(torch.full((draws,), 0.001, dtype=torch.bfloat16)).float().mean()
seen = {
    "bfloat16 0.001": rate(0.001, jnp.bfloat16),
    "bfloat16 0.999": rate(0.999, jnp.bfloat16),
    "float32 0.001": rate(0.001, jnp.float32),
    "torch bfloat16 0.001": theirs.item(),
    "choice": picked,
}
print(seen)
rates = list(seen.values())
if not (
    0.0075 < rates[0] < 0.0081
    and rates[1] == 1
    and all(0.0009 < rate < 0.0011 for rate in rates[2:4])
    and sorted(picked)[:2] == [0, 0]
):
    sys.exit("changed")
EOF
