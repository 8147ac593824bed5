#!/usr/bin/env bash
# flashinfer-bench 0.1.2, CPU: its tolerance is an "or", not the sum that allclose uses.
#
# numpy and torch accept |x - y| <= atol + rtol * |y|. Here an element fails only beyond atol and
# beyond rtol, 0.01 each by default. Where outputs are smaller than 0.01, nothing is tested; where
# they are large, 1 % is allowed whatever the dtype.
#
# Seen: 0.018 for 0.009 passes (relative error 1), torch.allclose with the same figures says no.
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

import torch
from flashinfer_bench import BenchmarkConfig
from flashinfer_bench.bench.utils import compute_error_stats

config = BenchmarkConfig()
output, reference = torch.tensor([0.018]), torch.tensor([0.009])
_, relative, exceeds, _ = compute_error_stats(output, reference, config)
limits = {"rtol": 0.004, "atol": 0.004}
tight = BenchmarkConfig(**limits)
_, _, exceeds_tight, _ = compute_error_stats(output, reference, tight)
large = torch.tensor([1009.0]), torch.tensor([1000.0])
_, _, exceeds_large, _ = compute_error_stats(*large, config)
print("rtol", config.rtol, "atol", config.atol, "relative error", round(relative, 3))
seen = (exceeds, exceeds_tight, exceeds_large, torch.allclose(output, reference, **limits))
print("fails by default, with 0.004, 1009 for 1000; allclose with 0.004:", seen)
if seen != (False, True, False, False) or (config.rtol, config.atol) != (0.01, 0.01):
    sys.exit(f"changed: {seen}")
EOF
