"""The work of one call: as a workload file states it, or counted by torch where it does not."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from orchestrator.usercode.registry import Target
from orchestrator.usercode.text import signatures
from orchestrator.usercode.values.trees import is_tensor, leaves, mapped
from orchestrator.workload import Work

if TYPE_CHECKING:
    import torch

BITS = {"complex128": 128, "complex64": 64, "bool": 8}
NAMES = ("flops", "bytes", "tokens", "needed_flops")


class DtypeName(str):
    """A dtype by its name, where torch is not imported: knows its size, and equals its name."""

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        if self in BITS:
            return BITS[self] // 8
        digits = "".join(character for character in self.partition("_")[0] if character.isdigit())
        return max(1, int(digits or 8) // 8)


def stated_work(path: Path, params: Any, dtypes: frozenset[str]) -> Work:
    """What `work(**params)` of the file returns.

    It is carried out by itself where its text allows that, without the file and so without torch.

    Raises:
        ValueError: it returns no mapping with flops and bytes.
        Exception: whatever it raises.
    """
    given: dict[str, Any] = {}
    for name in type(params).model_fields:
        value = getattr(params, name)
        given[name] = DtypeName(value) if name in dtypes and isinstance(value, str) else value
    try:
        alone, takes = _function(path, path.stat().st_mtime_ns)
        if takes is not None:
            given = {name: value for name, value in given.items() if name in takes}
        found = alone(**given)
    except (NameError, AttributeError, ImportError):  # it needs its file, or a real dtype
        function = Target("work", file=path).load()
        found = function(**{name: _real(value) for name, value in given.items()})
    return as_work(found)


def as_work(found: Any) -> Work:
    """A mapping with flops and bytes, tokens and needed_flops where there are any; or a Work as it
    is.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(found, Work):
        return found
    if isinstance(found, Mapping) and {"flops", "bytes"} <= set(found) <= set(NAMES):
        return Work(**found)
    raise ValueError(
        f"work must return a mapping of flops and bytes (and tokens, needed_flops), not {found!r}"
    )


def counted_work(
    inputs: Sequence[torch.Tensor], arguments: tuple[Any, ...], call: Callable[..., Any]
) -> Work:
    """Bytes of the inputs read and of the outputs written; FLOPs as torch counts those of the
    reference.

    torch counts matrix products, convolutions and attention; on the meta device, where nothing is
    computed, unless the reference asks for values.

    Args:
        inputs: the tensors that are read, at the trial's dtype.
        arguments: what the reference is called with.
        call: the reference.
    """
    flops, outputs = _counted(arguments, call)
    returned = [leaf for _, leaf in leaves(outputs) if is_tensor(leaf)]
    moved = 0
    for tensor in (*inputs, *returned):
        # of an expanded one what is stored
        size = tensor.numel() * tensor.element_size()
        moved += min(size, tensor.untyped_storage().nbytes())
    return Work(flops=float(flops), bytes=float(moved))


def _counted(arguments: tuple[Any, ...], call: Callable[..., Any]) -> tuple[int, Any]:
    """FLOPs of a call, and what it returned."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    try:
        there = mapped(arguments, lambda leaf: leaf.to("meta") if is_tensor(leaf) else leaf)
        with torch.device("meta"), torch.no_grad(), counter:
            outputs = call(*there)
    except Exception:  # noqa: BLE001 - it asks for values, which the meta device does not have
        copies = mapped(arguments, lambda leaf: leaf.clone() if is_tensor(leaf) else leaf)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            outputs = call(*copies)
    return int(counter.get_total_flops()), outputs


def _function(path: Path, changed_ns: int) -> tuple[Callable[..., Any], set[str] | None]:
    """`work` by itself, with the constants of its file and `math`; and the params that it takes,
    None: any.
    """
    code, constants, takes = _compiled(path, changed_ns)
    space: dict[str, Any] = {"math": math, **constants}
    exec(code, space)  # noqa: S102 - the user's own function, as importing its file would run it
    return space["work"], takes


_known: dict[tuple[Path, int], tuple[CodeType, dict[str, Any], set[str] | None]] = {}


def _compiled(path: Path, changed_ns: int) -> tuple[CodeType, dict[str, Any], set[str] | None]:
    key = (path, changed_ns)
    if key not in _known:
        tree = ast.parse(path.read_bytes())
        function = signatures.functions(tree).get("work")
        if function is None:
            raise NameError("work")
        constants = {}
        for name, node in signatures.values(tree).items():
            try:
                constants[name] = ast.literal_eval(node)
            except (ValueError, TypeError, SyntaxError):
                continue
        takes = None
        if function.args.kwarg is None:
            takes = {
                *signatures.parameter_names(function),
                *(one.arg for one in function.args.kwonlyargs),
            }
        future = ast.parse("from __future__ import annotations").body
        module = ast.Module([*future, function], type_ignores=[])
        _known[key] = compile(module, str(path), "exec"), constants, takes
    return _known[key]


def _real(value: Any) -> Any:
    if isinstance(value, DtypeName):
        import torch

        return getattr(torch, value)
    return value
