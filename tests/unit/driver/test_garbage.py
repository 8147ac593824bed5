"""The garbage collector while a sweep is driven."""

from __future__ import annotations

import gc

import pytest

from orchestrator.driver.garbage import FULL_PASSES, seldom_collected


def test_full_passes_are_rare_while_a_sweep_is_driven_and_as_before_afterwards() -> None:
    """Also where it ends by an error; whether the collector is on is left alone."""
    seen: list[object] = []

    @seldom_collected()
    def driven() -> None:
        seen.extend([gc.get_threshold(), gc.isenabled()])
        raise InterruptedError

    before = gc.get_threshold()
    with pytest.raises(InterruptedError):
        driven()
    assert seen == [(*before[:2], FULL_PASSES), gc.isenabled()]
    assert gc.get_threshold() == before
