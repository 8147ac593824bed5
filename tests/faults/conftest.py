"""Fixtures of the tests of faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.isolation.isolator import Isolator
from tests.faults.trials import light_isolator


@pytest.fixture(scope="module")
def isolator() -> Iterator[Isolator]:
    """An isolator that outlives many faults."""
    with light_isolator() as isolator:
        yield isolator


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The long forms run when they are asked for: `pytest tests/faults -m slow`."""
    if item.get_closest_marker("slow") is not None and "slow" not in item.config.option.markexpr:
        pytest.skip("the long form: -m slow")
