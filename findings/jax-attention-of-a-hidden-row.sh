#!/usr/bin/env bash
# jax 0.10.2 and torch 2.13.0, CPU: a query that may see nothing attends to everything in jax.
#
# jax.nn.dot_product_attention replaces masked scores by a large negative number, so a row that is
# masked whole becomes uniform: the mean of all values, those it must not see included.
# key_value_seq_lengths=0, padding without content, gives the same. The mask written as a bias of
# -inf gives NaN, and torch gives 0 for both of its forms. A kernel that is compared with jax there
# is judged by what it should not have read.
#
# Seen for 4 values whose mean is m: jax mask m, lengths 0 m, bias -inf NaN; torch mask 0, float
# mask of -inf 0.
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

import numpy as np

logging.disable(logging.WARNING)
import jax
import jax.numpy as jnp
import torch

rng = np.random.default_rng(0)
q, k, v = (rng.normal(size=(1, length, 1, 8)).astype(np.float32) for length in (1, 4, 4))
hidden = np.zeros((1, 1, 1, 4), bool)
bias = np.full(hidden.shape, -np.inf, np.float32)
mean = v.mean(axis=1).ravel()


def name(output):
    output = np.asarray(output).ravel()
    for label, value in (("mean", mean), ("zero", 0), ("nan", np.nan)):
        if np.allclose(output, value, atol=1e-6, equal_nan=True):
            return label
    return str(output)


attend = jax.nn.dot_product_attention
theirs = [torch.from_numpy(x).transpose(1, 2) for x in (q, k, v)]
torch_attend = torch.nn.functional.scaled_dot_product_attention
seen = {
    "jax mask": name(attend(q, k, v, mask=jnp.asarray(hidden))),
    "jax lengths": name(attend(q, k, v, key_value_seq_lengths=jnp.zeros(1, jnp.int32))),
    "jax bias": name(attend(q, k, v, bias=jnp.asarray(bias))),
    "torch mask": name(torch_attend(*theirs, attn_mask=torch.from_numpy(hidden))),
    "torch bias": name(torch_attend(*theirs, attn_mask=torch.from_numpy(bias))),
}
print(seen)
if list(seen.values()) != ["mean", "mean", "nan", "zero", "zero"]:
    sys.exit("changed")
EOF
