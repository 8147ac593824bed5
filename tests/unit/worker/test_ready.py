"""What a process does before its attempt is known."""

from __future__ import annotations

import random

import pytest
import torch

from orchestrator.verify.rule import noise
from orchestrator.worker import ready


def test_the_operator_is_verified_and_leaves_nothing_behind() -> None:
    """Neither in the generators that an implementation may draw from, nor in what torch holds."""
    before, drawn = torch.get_rng_state(), random.getstate()
    ready.ready_on("cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == drawn
    assert noise._FACTORS == {}


def test_it_is_judged_and_not_only_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """What judging loads is loaded: a wrong operator does not pass."""
    right = ready._attention
    monkeypatch.setattr(ready, "_attention", lambda q, k, v: 1.01 * right(q, k, v))
    with pytest.raises(AssertionError, match="elements are wrong"):
        ready.ready_on("cpu")
