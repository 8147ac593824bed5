"""The precision that operations err by is one that is computed in."""

import pytest
import torch

from orchestrator.verify.rule.precisions import working_precision


@pytest.mark.parametrize(
    ("stated", "dtypes", "precision"),
    [
        ("tf32", [torch.float16], "tf32"),
        ("float8_e4m3fn", [torch.float8_e4m3fn, torch.bfloat16], "bfloat16"),
        ("int8", [torch.complex32, torch.float64], "float16"),
        ("complex", [torch.complex64], "float32"),
        ("complex", [torch.complex128], "float64"),
        ("int8", [torch.int8], "float32"),
    ],
)
def test_what_computes_in_no_float_is_judged_by_the_first_dtype_that_does(
    stated, dtypes, precision
):
    """A complex dtype errs as its parts do; without any such dtype it is float32."""
    assert working_precision(stated, dtypes) == precision
