"""How a sweep is driven: what of the process it changes meanwhile."""

from __future__ import annotations

import gc

import pytest

from orchestrator.driver.runner import FULL_PASSES, seldom_collected


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


def test_it_is_as_before_after_two_sweeps_at_once() -> None:
    """In whichever order they end, as sweeps in two threads do."""
    before = gc.get_threshold()
    first, second = seldom_collected(), seldom_collected()
    with first:
        second.__enter__()
        assert gc.get_threshold()[2] == FULL_PASSES
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before
