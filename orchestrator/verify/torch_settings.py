"""Torch's process-wide settings while the harness computes, so that no implementation's choice
bends the yardstick.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def own_settings(precision: str = "ieee") -> Iterator[None]:
    """Torch's global settings as the harness needs them, whatever an implementation left behind;
    its own come back.
    """
    import torch

    dtype, matmul = torch.get_default_dtype(), _matmul_precision()
    torch.set_default_dtype(torch.float32)
    _set_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        with (
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        _set_matmul_precision(matmul)


def _matmul_precision() -> str:
    import torch

    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # torch refuses to tell when old and new settings were mixed
        return "highest"


def _set_matmul_precision(precision: str) -> None:
    import torch

    with suppress(RuntimeError):
        torch.set_float32_matmul_precision(precision)
