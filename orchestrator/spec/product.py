"""The product of the axes: its groups and its size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from orchestrator.spec.models import SweepSpec

MOST_JOINED = 4  # names of values that belong together; of more the rest is counted


def product_size(spec: SweepSpec) -> int:
    """How many trials the product has before anything is excluded; zipped axes count once, searched
    ones not.
    """
    return len(spec.implementations) * math.prod(len(values) for _, values in axis_groups(spec))


def option_names(spec: SweepSpec) -> set[str]:
    """The options that the sweep file states, as options.<name>."""
    found = {name for name in (*spec.axes, *spec.constants) if name.startswith("options.")}
    for entry in spec.implementations:
        found |= {f"options.{name}" for name in entry.options}
    return found


def axis_groups(spec: SweepSpec) -> Iterator[tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    """Axes that move together, and their points; a group stands where its first axis stands."""
    done: set[str] = {*spec.searched}
    for axis in spec.axes:
        if axis in done:
            continue
        names = next((group for group in spec.zip if axis in group), (axis,))
        done.update(names)
        yield names, list(zip(*(spec.listed(name) for name in names), strict=True))


def factors(spec: SweepSpec) -> str:
    """The product as `plan` explains it: `5 implementations x 3 batch x 3 seq_len`."""
    count = len(spec.implementations)
    found = [f"{count} implementation{'s' if count != 1 else ''}"]
    for names, points in axis_groups(spec):
        joined = " with ".join(names)
        if len(names) > MOST_JOINED:
            joined = f"cases of {names[0]}, {names[1]} and {len(names) - 2} more"
        found.append(f"{len(points)} {joined}")
    return " x ".join(found)
