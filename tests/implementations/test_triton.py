"""The Triton kernels without a GPU: interpreted, and compiled for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip(
    "triton", reason="Triton is not installed; it comes with torch for CUDA, and with the dev extra"
)

HALF, FLOAT = "*bf16", "*fp32"
STATED = {
    "scale": "fp32",
    "score_scale": "fp32",
    "mixture": "fp32",
    "factor": "fp32",
    "table": "*i32",
    "entries": "*i32",
}


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["ring", "lse", "not (ring or lse)"])
def test_they_are_right_in_the_interpreter(kernels):
    """A process of its own: Triton decides when a kernel is defined whether it will be interpreted."""
    file = Path(__file__).with_name("interpreted.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-k",
            kernels,
            str(file),
        ],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=file.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout


def compiled(kernel, types, constants, warps, plain=()):
    """The kernel's machine code for an H100, every integer 32 bits and a multiple of 16, as aligned
    inputs have it, but for those in `plain`.
    """
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    signature = {
        name: "constexpr" if name in constants else (types | STATED).get(name, "i32")
        for name in names
    }
    aligned = [
        i
        for i, name in enumerate(names)
        if name not in plain and (signature[name] == "i32" or signature[name].startswith("*"))
    ]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    return triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps, "num_stages": 2}
    )


MERGED = ("merge", "place", "gather", "gather gradients")  # of these kernels none multiplies
FUSED = ("forward", "parts", "causal", "tf32", "backward", "parts backward", "ring")


@pytest.mark.parametrize("kind", FUSED + MERGED)
def test_they_compile_for_hopper(kind):
    """On its matrix units where there are products."""
    from implementations.kernels.triton_backward import backward_kernel
    from implementations.kernels.triton_forward import forward_kernel
    from implementations.kernels.triton_gather import gather_gradients_kernel, gather_kernel
    from implementations.kernels.triton_merge import merge_kernel
    from implementations.kernels.triton_place import place_kernel
    from implementations.kernels.triton_ring import ring_kernel

    size = {"HEAD_DIM": 64, "WIDTH": 64, "UNIT": 16, "BLOCK_M": 64}
    how = {"PIECES": 3, "BLOCK_N": 64, "WIDE": False, "PRECISION": "tf32"}
    item = FLOAT if kind == "tf32" else HALF
    tensors = dict.fromkeys(("q", "k", "v", "out", "grad", "dq", "dk", "dv", "into"), item) | {
        "lse": FLOAT,
        "delta": FLOAT,
        "state": FLOAT,
    }
    parts = {"PARTS": kind.startswith("parts"), "PIECES": 32 if kind.startswith("parts") else 3}
    gathered = {"BRANCHES": 5, "HEAD_DIM": 64, "WIDTH": 64, "BLOCK_M": 32}
    if kind.endswith("backward"):
        made = compiled(backward_kernel, tensors, size | how | parts | {"CAUSAL": True}, 4)
    elif kind == "gather":
        types = tensors | {"parts": HALF, "sums": FLOAT}
        made = compiled(gather_kernel, types, gathered | {"KEEP": True}, 4)
    elif kind == "gather gradients":
        types = tensors | dict.fromkeys(("parts_q", "parts_k", "parts_v"), HALF)
        made = compiled(gather_gradients_kernel, types, gathered, 4)
    elif kind == "ring":
        own = {"ENTRIES": 7, "BLOCK_N": 64, "WIDE": False, "PRECISION": "tf32", "IN_PLACE": False}
        made = compiled(
            ring_kernel, tensors, size | own | {"CAUSAL": True, "EVEN": False, "KEEP": True}, 4
        )
    elif kind == "merge":
        merged = {name: size[name] for name in ("HEAD_DIM", "WIDTH", "BLOCK_M")}
        made = compiled(merge_kernel, tensors | {"into": FLOAT, "total": FLOAT}, merged, 4)
    elif kind == "place":
        places = {f"{side}_{i}": HALF for side in ("source", "into") for i in range(3)}
        placed = {name: size[name] for name in ("HEAD_DIM", "WIDTH", "BLOCK_M")}
        made = compiled(place_kernel, places, placed | {"COUNT": 3}, 4)
    else:
        causal = kind == "causal"
        made = compiled(
            forward_kernel,
            tensors,
            size | how | parts | {"CAUSAL": causal, "EVEN": not causal, "KEEP": kind != "forward"},
            4,
        )
    assert ("wgmma.mma_async" in made.asm["ptx"]) == (kind in FUSED)


@pytest.mark.parametrize("unit", [8, 1])
def test_rows_at_odd_multiples_of_eight_are_read_sixteen_bytes_at_a_time(unit):
    """Strides of 88 elements are not divisible by 16, which is all that Triton asks of an argument;
    counted in eights they are known to be aligned. Read one by one they cost up to six times the
    time (docs/LOG.md, 2026-11-30).
    """
    from implementations.kernels.triton_forward import forward_kernel

    constants = {
        "HEAD_DIM": 88, "WIDTH": 128, "UNIT": unit, "BLOCK_M": 64, "BLOCK_N": 64, "PIECES": 1,
        "CAUSAL": False, "EVEN": True, "WIDE": False, "KEEP": False, "PRECISION": "ieee",
        "PARTS": False,
    }  # fmt: skip
    tensors = dict.fromkeys(("q", "k", "v", "out"), HALF) | {"lse": FLOAT}
    strides = [f"{tensor}_{of}" for tensor in "qkv" for of in ("batch", "row", "head")]
    made = compiled(forward_kernel, tensors, constants, 4, [*strides, "all_heads", "seq_len"])
    ptx = made.asm["ptx"]
    wide = ptx.count("cp.async.cg.shared.global") + ptx.count("ld.global.v4")
    narrow = ptx.count("ld.global.b16") + ptx.count("ld.global.u16")
    assert (wide > 0, narrow > 0) == ((True, False) if unit == 8 else (False, True))
