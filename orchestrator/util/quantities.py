"""Units of memory, and which values count as numbers."""

from __future__ import annotations

from typing import Any, TypeGuard

MIB = 2**20
GIB = 2**30


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number to compare or draw. A bool is none, although Python says so."""
    return isinstance(value, int | float) and not isinstance(value, bool)
