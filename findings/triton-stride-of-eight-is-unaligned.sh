#!/usr/bin/env bash
# triton 3.7.1: a row stride divisible by 8 but not by 16 is read two bytes at a time.
#
# Rows of 88 half-precision values start at multiples of 16 bytes, as much as a load can take. But
# of an integer argument Triton's compiler is told only whether 16 divides it: for a stride of 96
# the copy below loads 16 bytes an instruction, for 88 it loads each value by itself. The same
# stride handed over as 11, and multiplied by 8 in the kernel, is read 16 bytes at a time again.
# Compiled for compute capability 9.0 without a GPU.
#
# Seen: {'96': 'wide', '88': 'narrow', '11 eights': 'wide'}.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 triton==3.7.1
cd "$work"
cat > seen.py <<'EOF2'
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def copy(source, into, stride, UNIT: tl.constexpr):
    rows, columns = tl.arange(0, 32), tl.arange(0, 64)
    values = tl.load(source + rows[:, None] * (stride * UNIT) + columns[None, :])
    tl.store(into + rows[:, None] * 64 + columns[None, :], values)


def width(unit, specialised):
    """How the rows are loaded; `specialised`: arguments known to be divisible by 16, by place."""
    types = {"source": "*bf16", "into": "*bf16", "stride": "i32", "UNIT": "constexpr"}
    attrs = {(place,): [["tt.divisibility", 16]] for place in specialised}
    source = ASTSource(fn=copy, signature=types, constexprs={(3,): unit}, attrs=attrs)
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    return "wide" if "ld.global.v4" in code and "ld.global.b16" not in code else "narrow"


# What Triton's launcher passes on: pointers of torch's allocator are aligned; 96 is divisible by
# 16, 88 and 11 are not.
seen = {"96": width(1, [0, 1, 2]), "88": width(1, [0, 1]), "11 eights": width(8, [0, 1])}
print(seen)
if seen != {"96": "wide", "88": "narrow", "11 eights": "wide"}:
    sys.exit(f"changed: {seen}")
EOF2
"$venv/bin/python" seen.py
