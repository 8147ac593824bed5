#!/usr/bin/env bash
# triton 3.7.1: a Python float handed to a kernel is float32, beside float64 data too, and int64 +
# 0.5 is float32.
#
# A literal in the kernel takes the type of the block it meets; the same number as an argument is
# rounded to float32 first, so x * 0.1 and x * scale differ in the ninth digit. A float beside
# int64 turns the block into float32, which has no room for a nanosecond clock. A literal that
# float16 cannot hold is infinite. The interpreter passes the argument in double precision, so a
# CPU test does not find it. Compiled for compute capability 9.0 without a GPU.
#
# Seen in Triton's own code: literal 0.1 beside fp64 a constant of f64, argument extended from f32
# to f64; int64 + 0.5 converted to f32; fp16 + 70000.0 the constant 0x7C00, infinity. Interpreter:
# x * scale is 0.1 exactly.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet triton==3.7.1 torch==2.13.0 numpy==2.4.6
cd "$work"
export TRITON_CACHE_DIR="$work/cache"
cat > seen.py <<'EOF'
import os
import sys

if len(sys.argv) > 1:
    os.environ["TRITON_INTERPRET"] = "1"
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def argument(source, into, scale):
    tl.store(into, tl.load(source) * scale)


@triton.jit
def literal(source, into):
    tl.store(into, tl.load(source) * 0.1)


@triton.jit
def half(source, into):
    tl.store(into, tl.load(source) + 0.5)


@triton.jit
def large(source, into):
    tl.store(into, tl.load(source) + 70000.0)


if len(sys.argv) > 1:
    result = torch.zeros(1, dtype=torch.float64)
    argument[(1,)](torch.ones_like(result), result, 0.1)
    print("interpreter:", result.item())
    sys.exit(result.item() != 0.1)


def code(kernel, source, into, **more):
    signature = {"source": f"*{source}", "into": f"*{into}", **more}
    made = ASTSource(fn=kernel, signature=signature, constexprs={})
    return triton.compile(made, target=GPUTarget("cuda", 90, 32)).asm["ttir"]


seen = {
    "argument": "arith.extf %scale : f32 to f64" in code(argument, "fp64", "fp64", scale="fp32"),
    "literal": "arith.constant 1.000000e-01 : f64" in code(literal, "fp64", "fp64"),
    "int64 + 0.5": "i64 to f32" in code(half, "i64", "fp64"),
    "fp16 + 70000.0": "arith.constant 0x7C00 : f16" in code(large, "fp16", "fp32"),
}
print(seen)
from triton._C.libtriton import native_specialize_impl
from triton.backends.nvidia.compiler import CUDABackend

handed = native_specialize_impl(CUDABackend, 0.1, False, True, True)[0]
print("type of the argument 0.1:", handed)
if not all(seen.values()) or handed != "fp32":
    sys.exit("changed")
EOF
"$venv/bin/python" seen.py
"$venv/bin/python" seen.py interpreter
