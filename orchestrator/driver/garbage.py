"""How often Python looks for cyclic garbage while a sweep is driven."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

FULL_PASSES = 1000  # passes over younger objects between two over all of them; Python's own: 10


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Have the collector look at all objects a hundred times less often.

    A driver keeps every record, none is in a cycle, and each full pass looks at all of them: at
    10,000 records these passes were a quarter of its time.
    """
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_PASSES)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)
