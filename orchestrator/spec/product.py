"""The product of the axes: its groups and its size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.formatting import counted
from orchestrator.spec.models import SweepSpec

MOST_JOINED = 4  # names of values that belong together; of more the rest is counted


def product_size(spec: SweepSpec) -> int:
    """How many trials the product has before anything is excluded.

    Axes that move together count once; those of a search do not count.
    """
    size = len(spec.implementations)
    for _, points in axis_groups(spec):
        size *= len(points)
    return size


def shared_options(spec: SweepSpec) -> set[str]:
    """The options that the sweep file states for all implementations, as options.<name>."""
    stated = [*spec.axes, *spec.constants]
    return {name for name in stated if name.startswith("options.")}


def option_names(spec: SweepSpec) -> set[str]:
    """The options that the sweep file states for any implementation, as options.<name>."""
    found = shared_options(spec)
    for entry in spec.implementations:
        for name in entry.options:
            found.add(f"options.{name}")
    return found


def axis_groups(spec: SweepSpec) -> Iterator[tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    """Axes that move together, and their points; a group stands where its first axis stands."""
    done = set(spec.searched)
    for axis in spec.axes:
        if axis in done:
            continue
        names: tuple[str, ...] = (axis,)
        for group in spec.zip:
            if axis in group:
                names = group
                break
        done.update(names)
        columns = [spec.listed(name) for name in names]
        yield names, list(zip(*columns, strict=True))


def factors(spec: SweepSpec) -> str:
    """The product as `plan` explains it: `5 implementations x 3 batch x 3 seq_len`."""
    found = [counted(len(spec.implementations), "implementation")]
    for names, points in axis_groups(spec):
        joined = " with ".join(names)
        if len(names) > MOST_JOINED:
            joined = f"cases of {names[0]}, {names[1]} and {len(names) - 2} more"
        found.append(f"{len(points)} {joined}")
    return " x ".join(found)
