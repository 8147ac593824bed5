"""The gallery on a GPU: of each workload the right implementations are right, and the wrong one is
caught.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from torch.cuda import get_device_capability

from orchestrator.machine import nvml
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from tests.support.attempts import attempts_of, recorded
from tests.unit.test_gallery import SMALL, SWEEPS, wrong

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(nvml.count() == 0, reason="needs a CUDA device")]
HOPPER = (9, 0)


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """One beside pytest's for all of them, for a trial changes what is global."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def outcomes(path: Path) -> dict[str, tuple[Outcome, str]]:
    """How each implementation ended at the small shape, and what was said of it."""
    found = {}
    for given in attempts_of(Sweep.load(path, SMALL[path.stem])):
        record = recorded(given.model_copy(update={"device": "cuda"}))
        found[given.trial.implementation] = record.outcome, str(record.error)
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_workload_of_the_gallery_catches_what_is_wrong_alone(
    path: Path, process: ProcessPoolExecutor
) -> None:
    """What needs CUDA is ok, too, where the GPU can do it."""
    if path.stem == "fp8_matmul" and process.submit(get_device_capability).result(60) < HOPPER:
        pytest.skip("torch scales by rows from Hopper on")
    expected = wrong(path.parent / Sweep.load(path).spec.workload)
    found = process.submit(outcomes, path).result(timeout=280)
    wanted = {name: Outcome.MISMATCH if name in expected else Outcome.OK for name in found}
    assert {name: outcome for name, (outcome, _) in found.items()} == wanted, found
    assert len(found) >= 3
