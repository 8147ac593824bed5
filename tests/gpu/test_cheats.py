"""Every cheat on a GPU, where calls return before their work is done: none is ok, and none holds up
the sweep.
"""

from __future__ import annotations

import pytest

from orchestrator.machine import nvml
from orchestrator.outcome import Outcome
from orchestrator.record import TrialRecord
from orchestrator.spec.models import MeasureProtocol
from tests.support.attempts import attention_attempt, recorded
from tests.unit.worker.test_cheats import CHEATS, LONG, NAMES, long_enough

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(nvml.count() == 0, reason="needs a CUDA device")]

PROTOCOL = MeasureProtocol(
    warmup_s=0.05, min_time_s=0.05, max_time_s=0.5, min_repetitions=10, target_ci=0.05
)


def tried(name: str, **params: object) -> TrialRecord:
    """The record of a cheat on the first GPU."""
    given = attention_attempt(name, **{"heads": 4, "head_dim": 16, "causal": True, **params})
    trial = given.trial.model_copy(update={"use": f"{CHEATS}:{name}"})
    changes = {"trial": trial, "device": "cuda", "protocol": long_enough(name, PROTOCOL)}
    return recorded(given.model_copy(update=changes))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", NAMES)
def test_a_cheat_is_a_mismatch(name: str) -> None:
    """No figures, and a reason."""
    record = tried(name, **(LONG if name == "one_wrong_row" else {"seq_len": 256}))
    assert record.outcome is Outcome.MISMATCH, record
    assert record.metrics is None
    assert record.error is not None


def test_the_honest_one_is_ok() -> None:
    """What catches the others lets it pass."""
    record = tried("honest", seq_len=256)
    assert record.outcome is Outcome.OK, record.error
