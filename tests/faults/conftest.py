"""Fixtures of the tests of faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.isolate import Isolator
from tests.faults.trials import light_isolator


@pytest.fixture(scope="module")
def isolator() -> Iterator[Isolator]:
    """An isolator that outlives many faults."""
    with light_isolator() as isolator:
        yield isolator
