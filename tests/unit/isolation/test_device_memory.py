"""Device memory beyond the cap is found, whichever library took it, and only where the cap is
meant.
"""

from __future__ import annotations

import pytest

from orchestrator.isolation.device_memory import DeviceWatch
from orchestrator.outcome import Phase
from orchestrator.util.quantities import GIB


class Card:
    """GPUs whose use a test sets; 20 GiB are in use before anything starts."""

    def __init__(self) -> None:
        self.used: dict[int, int | None] = {0: 20 * GIB, 1: 20 * GIB}

    def __call__(self, ordinal: int) -> int | None:
        """Bytes in use on one of them."""
        return self.used[ordinal]


@pytest.mark.parametrize(
    ("grown_gib", "phase", "over"),
    [
        (12, Phase.FIRST_CALL, True),
        (12, Phase.BUILD, True),
        (8.5, Phase.FIRST_CALL, False),
        (12, Phase.VERIFY, False),
        (12, Phase.MEASURE, False),
        (-3, Phase.BUILD, False),
    ],
)
def test_growth_over_the_cap_is_told_in_the_phases_that_are_capped(
    grown_gib: float, phase: Phase, over: bool
) -> None:
    """A cap of 8 GiB and the context; the harness's own tensors are not meant."""
    card = Card()
    watch = DeviceWatch(8.0, [0, 1], card)
    card.used[1] = int((20 + grown_gib) * GIB)
    says = watch.look(phase)
    watch.close()
    assert (says is not None) is over
    if says is not None:
        assert "12.00 GiB of a GPU, the cap is 8.00 (resources.gpu_memory_gib)" in says


def test_a_driver_that_does_not_answer_is_no_proof() -> None:
    """Neither before nor during the attempt."""
    card = Card()
    watch = DeviceWatch(8.0, [0], card)
    card.used[0] = None
    assert watch.look(Phase.BUILD) is None
    watch.close()
    unknown = DeviceWatch(8.0, [0], card)
    card.used[0] = 80 * GIB
    assert unknown.look(Phase.BUILD) is None
    unknown.close()
