"""How many bytes a call of ranks sends, counted from the collectives that it asks torch for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

# What a rank sends for one byte that it hands over, by a ring: (of world_size), as the NCCL tests
# count bus bandwidth.
_FACTORS: dict[str, Callable[[int], float]] = {
    "allreduce": lambda w: 2 * (w - 1) / w,
    "allgather": lambda w: w - 1,
    "reduce_scatter": lambda w: (w - 1) / w,
    "alltoall": lambda w: (w - 1) / w,
    "broadcast": lambda w: (w - 1) / w,
    "reduce": lambda w: (w - 1) / w,
    "gather": lambda w: (w - 1) / w,
    "send": lambda _w: 1.0,
}
# Collectives whose first argument is where the result goes and whose second is what is handed over.
_SECOND = ("allgather", "reduce_scatter", "alltoall", "gather")


def sent_bytes(call: Callable[[], object], world_size: int) -> float:
    """Bytes that one call of this rank sends, a ring's way of each collective taken for granted.

    Args:
        call: makes it; every rank does at the same time.
        world_size: of the trial; collectives of smaller groups are counted by their own size.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    total = 0.0

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal total
            if func.namespace == "c10d":
                total += _handed_over(str(func), args, world_size)
            return func(*args, **(kwargs or {}))

    with Counter():  # type: ignore[no-untyped-call]
        call()
    return total


def _handed_over(name: str, args: Any, world_size: int) -> float:
    kind = next(
        (
            kind
            for kind in sorted(_FACTORS, key=len, reverse=True)
            if kind in name.replace("_base", "")
        ),
        None,
    )
    if kind is None:
        return 0.0
    given = args[1] if kind in _SECOND else args[0]
    size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(given))
    return float(size * _FACTORS[kind](_group_size(args, world_size)))


def _group_size(args: Any, world_size: int) -> int:
    """Of the group that the collective is of; torch hands it over as a script object."""
    import torch.distributed as dist

    for argument in args:
        if isinstance(argument, dist.ProcessGroup):
            return int(argument.size())
        with_size = getattr(argument, "size", None)
        if "ProcessGroup" in str(type(argument)) and callable(with_size):
            return int(with_size())
        if "ScriptObject" in type(argument).__name__:
            try:
                return int(dist.ProcessGroup.unbox(argument).size())
            except (AttributeError, RuntimeError, TypeError):
                continue
    return world_size


def _tensors(given: Any) -> Iterable[Any]:
    import torch

    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, list | tuple):
        for item in given:
            yield from _tensors(item)
