#!/usr/bin/env bash
# torch 2.13.0: seeds that differ by a multiple of 2**32 give the same numbers on a CPU.
#
# manual_seed accepts any 64-bit seed and initial_seed() returns it whole, so seeds taken from a
# 64-bit hash look distinct. The Mersenne Twister behind the CPU generator is started from the low
# 32 bits alone.
#
# Seen: seeds 5 and 2**40 + 5 draw equal randn, rand and randperm; initial_seed() is 2**40 + 5.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys

import torch


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator}
    values = [torch.randn(32, **options), torch.rand(32, **options)]
    values.append(torch.randperm(32, **options))
    return generator.initial_seed(), values


low_seed, low = draw(5)
high_seed, high = draw(2**40 + 5)
other_seed, other = draw(6)
same = all(torch.equal(a, b) for a, b in zip(low, high))
differs = not any(torch.equal(a, b) for a, b in zip(low, other))
print(low_seed, high_seed, "same draws:", same, "another seed differs:", differs)
if not (same and differs and high_seed == 2**40 + 5):
    sys.exit("changed: the upper half of the seed matters now")
EOF
