"""A sweep with some of everything: noise, an OOM, a mismatch, a trial that was not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.outcome import Outcome
from orchestrator.results.results import Results
from tests.support import made

DIRECTORY = Path("mlruns/sweeps/full") / made.SWEEP_ID


@pytest.fixture
def all_ok() -> Results:
    """Two implementations over four points, every row ok."""
    planned = made.trials(["standard", "improved"], made.AXES, dtype="float32")
    return made.results(planned, [made.ok(trial) for trial in planned], directory=DIRECTORY)


@pytest.fixture
def mixed() -> Results:
    """Three implementations; flags, an OOM, a mismatch, and a last trial that was not run."""
    planned = made.trials(
        ["standard", "improved", "multihead_standard"], made.AXES, dtype="float32"
    )
    records = [made.ok(trial) for trial in planned[:-1]]
    records[1] = made.ok(planned[1], flags=("noisy", "throttled"))
    records[8] = made.bad(
        planned[8],
        Outcome.OOM,
        "OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 4.40 GiB",
    )
    records[9] = made.bad(
        planned[9], Outcome.MISMATCH, "Mismatch", "relative error 0.97 in batch 0, head 3\nmore"
    )
    return made.results(planned, records, directory=DIRECTORY)
