#!/usr/bin/env bash
# triton 3.7.1: tl.sum adds bfloat16 in bfloat16, while tl.cumsum and tl.max of the same block
# widen it to float32.
#
# A sum of int8 is widened to int32, and a maximum of half types, which cannot overflow, to
# float32. The sum of half types is not: each addition of the tree is rounded to 8 or 11 bits, and
# 256 values of 300 in float16 are infinite, though the result is stored as float32. The last value
# of a running sum of bfloat16 is another number than the sum. torch adds in float32. The cast must
# be written before the sum. Compiled for compute capability 9.0 without a GPU, and read from
# Triton's own code.
#
# Seen, the type of the additions: sum of bf16 bf16, of fp16 f16, of i8 i32; cumsum of bf16 f32, of
# fp16 f16; max of bf16 f32.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet triton==3.7.1
cd "$work"
export TRITON_CACHE_DIR="$work/cache"
cat > seen.py <<'EOF'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def total(source, into):
    tl.store(into, tl.sum(tl.load(source + tl.arange(0, 256))))


@triton.jit
def running(source, into):
    place = tl.arange(0, 256)
    tl.store(into + place, tl.cumsum(tl.load(source + place), 0))


@triton.jit
def largest(source, into):
    tl.store(into, tl.max(tl.load(source + tl.arange(0, 256)), 0))


def combined_in(kernel, dtype):
    source = ASTSource(fn=kernel, signature={"source": f"*{dtype}", "into": "*fp32"}, constexprs={})
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ttir"]
    (found,) = re.findall(r"arith\.(?:add[fi]|maxnumf) %\w+, %\w+ : (\w+) ", code)
    return found


seen = {
    "sum bf16": combined_in(total, "bf16"),
    "sum fp16": combined_in(total, "fp16"),
    "sum i8": combined_in(total, "i8"),
    "cumsum bf16": combined_in(running, "bf16"),
    "cumsum fp16": combined_in(running, "fp16"),
    "max bf16": combined_in(largest, "bf16"),
}
print(seen)
if list(seen.values()) != ["bf16", "f16", "i32", "f32", "f16", "f32"]:
    sys.exit("changed")
EOF
"$venv/bin/python" seen.py
