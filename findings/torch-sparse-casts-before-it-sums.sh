#!/usr/bin/env bash
# torch 2.13.0: the values of a sparse tensor depend on whether it was coalesced before a cast.
#
# A COO tensor may hold an entry in several parts, and its value is their sum. abs, sin and others
# coalesce first. `to` casts each part: to an integer type they are truncated one by one, to a half
# type they are rounded one by one, and the sum is another number than the dense tensor's.
# is_coalesced() says nothing of it, and to_dense() before the cast gives the other result.
#
# Seen, cast first and dense first: 0.5 + 0.5 to int32 0 and 1, 0.5 - 0.5 to bool True and False,
# 2048 + 1 + 1 to float16 2048 and 2050; 1.5 - 0.5 to int32 is 1 by both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import torch

warnings.simplefilter("ignore")


def both(parts, dtype):
    place = torch.zeros(1, len(parts), dtype=torch.long)
    sparse = torch.sparse_coo_tensor(place, torch.tensor(parts), (1,))
    return [sparse.to(dtype).to_dense().item(), sparse.to_dense().to(dtype).item()]


seen = {
    "0.5 + 0.5": both([0.5, 0.5], torch.int32),
    "1.5 - 0.5": both([1.5, -0.5], torch.int32),
    "0.5 - 0.5 as bool": both([0.5, -0.5], torch.bool),
    "2048 + 1 + 1": both([2048.0, 1.0, 1.0], torch.float16),
}
print("(cast first, dense first):", seen)
if list(seen.values()) != [[0, 1], [1, 1], [True, False], [2048.0, 2050.0]]:
    sys.exit("changed")
EOF
