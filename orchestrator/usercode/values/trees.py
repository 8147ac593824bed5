"""Trees of values: tuples, lists, dicts, NamedTuples and dataclasses, and a name for each leaf.

A name reads as Python would: `values`, `[1]`, `cache.key`, `layers[0].weight`. What is none of
these containers is a leaf: a tensor, a number, a string, None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.workload import Expected

ROOT = "out"  # the name of a leaf that is the whole tree


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a tree with its name, in order; of one that is a leaf, `name`, else "out"."""
    parts = _parts(tree)
    if parts is None:
        yield name or ROOT, tree
        return
    for key, value in parts:
        if isinstance(key, int):
            yield from leaves(value, f"{name}[{key}]")
        else:
            yield from leaves(value, f"{name}.{key}" if name else key)


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same tree with `change` of each leaf, asked in the order of `leaves`."""
    parts = _parts(tree)
    if parts is None:
        return change(tree)
    changed = [mapped(value, change) for _, value in parts]
    if isinstance(tree, Mapping):
        return dict(zip(tree, changed, strict=True))
    if dataclasses.is_dataclass(tree):
        names = [field.name for field in dataclasses.fields(tree)]
        return _with_fields(tree, dict(zip(names, changed, strict=True)))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*changed)
    return type(tree)(changed)


def is_tensor(value: Any) -> bool:
    """Whether a leaf is a tensor of torch's."""
    import torch

    return isinstance(value, torch.Tensor)


def _parts(tree: Any) -> list[tuple[str | int, Any]] | None:
    """The parts of a container by field, key or index; None: a leaf."""
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(zip(tree._fields, tree, strict=True))
    # torch.topk and its like return these
    if isinstance(tree, tuple) and hasattr(tree, "n_sequence_fields"):
        return list(zip(getattr(type(tree), "__match_args__"), tree, strict=True))  # noqa: B009 - not every tuple has them
    if isinstance(tree, Mapping):
        return [(str(key), value) for key, value in tree.items()]
    if isinstance(tree, list | tuple):
        return list(enumerate(tree))
    if isinstance(tree, Expected):  # the rows of one output
        return None
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    return None


def _with_fields(value: Any, fields: Mapping[str, Any]) -> Any:
    """A dataclass like `value` with other fields; its `__init__` and `__post_init__` are not run
    again.
    """
    made = object.__new__(type(value))
    for name, field in fields.items():
        object.__setattr__(made, name, field)
    return made
