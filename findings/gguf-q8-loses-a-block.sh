#!/usr/bin/env bash
# gguf 0.19.0, gguf.quants: the block scale of Q8_0 is a float16 and is not checked.
#
# A block of 32 float32 values shares the scale max / 127. Above 127 * 65504 the scale is
# infinite: the large value comes back as inf and each other one as 0 * inf. quantize raises
# nothing, and the finite input has become NaN. The next block is untouched.
#
# Seen: [8e6, 1, ...] -> [8002016, 0, ...]; [8.4e6, 1, ...] -> [inf, nan, ...].
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet gguf==0.19.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import warnings

import numpy as np
from gguf import GGMLQuantizationType, quants

warnings.simplefilter("ignore")


def restored(large):
    block = np.ones((1, 64), dtype=np.float32)
    block[0, 0] = large
    packed = quants.quantize(block, GGMLQuantizationType.Q8_0)
    values = quants.dequantize(packed, GGMLQuantizationType.Q8_0)[0]
    return [f"{value:.3g}" for value in (values[0], values[1], values[32])]


seen = [restored(8.0e6), restored(8.4e6)]
print(seen)
if seen != [["8e+06", "0", "1"], ["inf", "nan", "1"]]:
    sys.exit(f"changed: {seen}")
EOF
