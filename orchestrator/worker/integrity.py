"""Whether the functions that figures and verdicts rest on are still those that the harness knew."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError

_TIME = ("perf_counter", "process_time", "monotonic", "time")
_TORCH = (
    "equal", "isfinite", "isin", "where", "maximum", "minimum", "empty", "empty_like", "zeros",
    "zeros_like", "cat", "randn", "rand", "as_tensor", "view_as_real", "finfo",
)  # fmt: skip
_TENSOR = (
    "clone", "detach", "copy_", "to", "double", "cpu", "contiguous", "view", "reshape", "sum",
    "mean", "abs", "square", "sqrt", "max", "argmax", "any", "all", "item", "isfinite",
    "masked_fill", "index_add_", "fill_", "data_ptr", "nan_to_num_", "sub_", "addcmul_", "__sub__",
    "__mul__", "__truediv__", "__gt__", "__le__", "__eq__", "__ne__", "__bool__", "__float__",
)  # fmt: skip
_CUDA = (
    "synchronize",
    "Event",
    "_sleep",
    "current_stream",
    "get_device_properties",
    "memory_stats",
)
_EVENT = ("record", "synchronize", "elapsed_time", "query")


def bound_functions() -> dict[str, Any]:
    """The functions by name, as they are now: asked for before any of a user's code is imported."""
    import torch

    holders: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
        ("time", time, _TIME),
        ("torch", torch, _TORCH),
        ("torch.Tensor", torch.Tensor, _TENSOR),
        ("torch.autograd", torch.autograd, ("grad",)),
        ("torch.cuda", torch.cuda, _CUDA),
        ("torch.cuda.Event", torch.cuda.Event, _EVENT),
    )
    found = {}
    for holder, value, names in holders:
        for name in names:
            found[f"{holder}.{name}"] = getattr(value, name, None)
    return found


def check_unchanged(bound: Mapping[str, Any]) -> None:
    """That nobody has replaced one of these functions.

    Raises:
        AttemptEndedError: failed, naming those that were.
    """
    now = bound_functions()
    replaced = [name for name, function in bound.items() if now[name] != function]
    if replaced:
        raise AttemptEndedError(
            Outcome.FAILED,
            "FunctionsReplaced",
            f"it replaced {', '.join(replaced)}, which it is timed and judged by; leave them alone",
        )
