"""Precisions by name: what an operation errs by, and what a right output is usually off by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

UNITS = {  # unit roundoff
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "tf32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
OF_COMPLEX = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
USUAL_ERRORS = {  # relative, of a whole output: to look by hand, decides nothing
    "float64": 1e-12,
    "float32": 1e-5,
    "tf32": 1e-3,
    "float16": 3e-3,
    "bfloat16": 1e-2,
}


def usual_error(*names: str) -> float:
    """The usual error of the first of these precisions that has one; float32's where none has."""
    found = [USUAL_ERRORS[name] for name in names if name in USUAL_ERRORS]
    return found[0] if found else USUAL_ERRORS["float32"]


def working_precision(stated: str, dtypes: Sequence[torch.dtype]) -> str:
    """The precision whose unit roundoff operations err by.

    Args:
        stated: by the workload; where it is no floating-point precision that is computed in (8-bit
            floats, integers), that of the first dtype that is decides.
        dtypes: of the inputs, then of the outputs.
    """
    if stated in UNITS:
        return stated
    for dtype in dtypes:
        name = str(dtype).removeprefix("torch.")
        name = OF_COMPLEX.get(name, name)
        if name in UNITS:
            return name
    return "float32"
