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
}


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["ring", "not ring"])
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


def compiled(kernel, types, constants, warps):
    """The kernel's machine code for an H100, every integer 32 bits and a multiple of 16, as aligned
    inputs have it.
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
        if signature[name] == "i32" or signature[name].startswith("*")
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


@pytest.mark.parametrize(
    "kind", ["forward", "causal", "tf32", "backward", "ring", "merge", "place"]
)
def test_they_compile_for_hopper(kind):
    """On its matrix units where there are products."""
    from implementations.kernels.triton_backward import backward_kernel
    from implementations.kernels.triton_forward import forward_kernel
    from implementations.kernels.triton_merge import merge_kernel
    from implementations.kernels.triton_place import place_kernel
    from implementations.kernels.triton_ring import ring_kernel

    size = {"HEAD_DIM": 64, "WIDTH": 64, "BLOCK_M": 64}
    how = {"PIECES": 3, "BLOCK_N": 64, "WIDE": False, "PRECISION": "tf32"}
    item = FLOAT if kind == "tf32" else HALF
    tensors = dict.fromkeys(("q", "k", "v", "out", "grad", "dq", "dk", "dv", "into"), item) | {
        "lse": FLOAT,
        "delta": FLOAT,
        "state": FLOAT,
    }
    if kind == "backward":
        made = compiled(backward_kernel, tensors, size | how | {"CAUSAL": True}, 4)
    elif kind == "ring":
        own = {"ENTRIES": 7, "BLOCK_N": 64, "WIDE": False, "PRECISION": "tf32", "IN_PLACE": False}
        made = compiled(
            ring_kernel, tensors, size | own | {"CAUSAL": True, "EVEN": False, "KEEP": True}, 4
        )
    elif kind == "merge":
        made = compiled(merge_kernel, tensors | {"into": FLOAT, "total": FLOAT}, size, 4)
    elif kind == "place":
        places = {f"{side}_{i}": HALF for side in ("source", "into") for i in range(3)}
        made = compiled(place_kernel, places, size | {"COUNT": 3}, 4)
    else:
        causal = kind == "causal"
        made = compiled(
            forward_kernel,
            tensors,
            size | how | {"CAUSAL": causal, "EVEN": not causal, "KEEP": causal},
            4,
        )
    assert ("wgmma.mma_async" in made.asm["ptx"]) == (kind not in ("merge", "place"))
