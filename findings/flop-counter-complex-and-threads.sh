#!/usr/bin/env bash
# torch 2.13.0: torch.utils.flop_counter knows no dtype and one thread only.
#
# A complex product takes four real products; the counter reports the figure of one. The counter
# is a mode of the calling thread: work handed to another thread inside the block is not counted.
#
# Seen for 8 x 8 matrices: float 1024, complex64 1024 (4096 real operations), in a thread 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$venv/bin/python" - <<'EOF'
import sys
import threading

import torch
from torch.utils.flop_counter import FlopCounterMode


def count(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def in_thread():
    thread = threading.Thread(target=lambda: real @ real)
    thread.start()
    thread.join()


real = torch.ones(8, 8)
complex_ = torch.ones(8, 8, dtype=torch.complex64)
seen = {
    "real": count(lambda: real @ real),
    "complex": count(lambda: complex_ @ complex_),
    "thread": count(in_thread),
}
print(seen)
if seen != {"real": 1024, "complex": 1024, "thread": 0}:
    sys.exit(f"changed: {seen}")
EOF
