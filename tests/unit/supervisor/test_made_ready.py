"""Which attempts run in processes made ready ahead, and what becomes of those that wait."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.attempt_result import AttemptResult
from orchestrator.isolation.isolator import Completed
from orchestrator.isolation.ranks import SET_ON_CUDA, RankSpan
from orchestrator.machine import nvml
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord, record_of, utc_now
from orchestrator.supervisor import supervisor
from orchestrator.supervisor.made_ready import (
    IN_A_SEARCH,
    MOST,
    ROOMY_GIB,
    WELL_AGAIN,
    to_make_ready,
)
from orchestrator.supervisor.supervisor import Supervisor
from orchestrator.trial import Attempt, Resources
from orchestrator.util.quantities import GIB
from tests.support.attempts import attempt


def card(gib: float = 141.0, mode: int = 0) -> Any:
    """What NVML says of a card."""
    return SimpleNamespace(
        NVML_COMPUTEMODE_DEFAULT=0,
        nvmlDeviceGetHandleByIndex=lambda _: "gpu",
        nvmlDeviceGetComputeMode=lambda _: mode,
        nvmlDeviceGetComputeRunningProcesses=lambda _: [],
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=int(gib * GIB), used=0),
    )


def on_gpu(**resources: Any) -> Attempt:
    given = {"gpus": 1, "cpus": 1, **resources}
    return attempt("honest", device="cuda", resources=Resources(**given), left=500)


@pytest.mark.parametrize(
    ("api", "given", "expected"),
    [
        (card(), on_gpu(), MOST),
        (card(), on_gpu(gpu_memory_gib=8), MOST),
        (None, on_gpu(), 0),
        (card(mode=3), on_gpu(), 0),  # one process at a time
        (card(gib=ROOMY_GIB - 1), on_gpu(), 0),
        (card(gib=24), on_gpu(gpu_memory_gib=8), MOST),
        (card(gib=24), on_gpu(gpu_memory_gib=24 - MOST - 1), 0),
        (card(), on_gpu(gpus=2), 0),
        (card(), on_gpu(gpus=2, ranks=2), 0),
        (card(), on_gpu().model_copy(update={"compile_times": True}), 0),
    ],
)
def test_where_there_is_room_for_them(
    monkeypatch: pytest.MonkeyPatch, api: Any, given: Attempt, expected: int
) -> None:
    """On the card, and where nothing is measured from cold."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert to_make_ready(given, None, 1, WELL_AGAIN, api) == expected
    assert to_make_ready(given, None, 1, WELL_AGAIN - 1, api) == 0
    assert to_make_ready(given, RankSpan(0, 1, 2, "file://there"), 1, WELL_AGAIN, api) == 0


@pytest.mark.parametrize(
    ("left", "slots", "expected"),
    [(None, 1, IN_A_SEARCH), (0, 1, 1), (4, 1, 5), (4, 2, 3), (500, 8, MOST)],
)
def test_no_more_than_there_are_attempts_left(
    monkeypatch: pytest.MonkeyPatch, left: int | None, slots: int, expected: int
) -> None:
    """Of a sweep; its slots share them."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    given = on_gpu().model_copy(update={"left": left})
    assert to_make_ready(given, None, slots, WELL_AGAIN, card()) == expected


class Slot:
    """An isolator whose attempts end as told; keeps what it was asked for."""

    def __init__(self, ends: Callable[[bool], TrialRecord]) -> None:
        self.ends = ends
        self.asked: list[str] = []
        self.waiting: frozenset[int] = frozenset()

    def make_ready(self, count: int) -> frozenset[int]:
        if count:
            self.asked.append("make ready")
            self.waiting = frozenset({7})
        return self.waiting

    def dismiss(self) -> None:
        self.asked.append("dismiss")
        self.waiting = frozenset()

    def family(self) -> list[int]:
        return []

    def run(self, _attempt: Attempt, _enter: object, **how: Any) -> Completed:
        self.asked.append("run" if how["made_ready"] else "run alone")
        return Completed(AttemptResult(record=self.ends(how["made_ready"])))

    def screen(
        self, attempt: Attempt, _target: str, _enter: object, *, made_ready: bool
    ) -> Completed:
        self.asked.append("screen" if made_ready else "screen alone")
        own = attempt.of_each_trial()
        first, *others = [self.ends(made_ready), *(_of(one, Outcome.OK) for one in own[1:])]
        return Completed(AttemptResult(record=first, others=tuple(others)))

    def call(self, _call: object) -> Any:
        return SimpleNamespace(faults=())


def _of(attempt: Attempt, outcome: Outcome) -> TrialRecord:
    return record_of(attempt, outcome, Phase.DONE, utc_now(), {})


def asked_of(
    monkeypatch: pytest.MonkeyPatch,
    outcome: Outcome,
    *,
    alone: Outcome | None = None,
    flags: tuple[str, ...] = (),
    times: int = 1,
    **resources: Any,
) -> list[str]:
    """What a slot is asked for by one attempt that ends so, or by several."""
    given = on_gpu(**resources)

    def ends(made_ready: bool) -> TrialRecord:
        how = outcome if made_ready or alone is None else alone
        told = flags if made_ready else ()
        return record_of(given, how, Phase.DONE, utc_now(), {}, flags=told)

    slot = Slot(ends)
    made, _ = supervised(monkeypatch, slot)
    for _ in range(times):
        made.run(given.model_dump_json())
    return slot.asked


def supervised(
    monkeypatch: pytest.MonkeyPatch, slot: Slot
) -> tuple[Supervisor, list[frozenset[int]]]:
    """A supervisor with this isolator, and of each attempt which processes stood by as ours."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **SET_ON_CUDA}.items():
        monkeypatch.setenv(name, value)  # what a supervisor sets, undone afterwards
    monkeypatch.setattr(supervisor, "Isolator", lambda **_: slot)
    monkeypatch.setattr(nvml, "session", Session)
    monkeypatch.setattr(nvml, "local_cores", lambda _: frozenset())
    monkeypatch.setattr(nvml, "card", lambda *_: "card")
    made = Supervisor("cuda", 1, "0", (), staged=False)
    made._calibration = SimpleNamespace(  # type: ignore[assignment]
        prepare=lambda one: one, take=list, is_due=lambda _: False
    )
    stood_by: list[frozenset[int]] = []

    def sampler(_attempt: Attempt, standing: frozenset[int]) -> Quiet:
        stood_by.append(standing)
        return Quiet()

    monkeypatch.setattr(made, "_sampler", sampler)
    return made, stood_by


class Quiet:
    """A sampler that finds nothing."""

    def findings(self) -> Any:
        return SimpleNamespace(flags=(), notes=())


class Session:
    """With NVML."""

    def __enter__(self) -> Any:
        return card()

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize("outcome", ["ok", "unsupported", "mismatch", "implausible"])
def test_what_says_nothing_of_the_card_leaves_those_that_wait(
    monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """A wrong answer costs the next attempts nothing."""
    assert asked_of(monkeypatch, Outcome(outcome)) == ["make ready", "run"]


@pytest.mark.parametrize("outcome", ["crashed", "failed", "timeout", "lost"])
def test_after_one_that_failed_they_are_ended(
    monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """The card may be in a state that they do not know of."""
    assert asked_of(monkeypatch, Outcome(outcome)) == ["make ready", "run", "dismiss"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(2, ["make ready", "screen"]), (1, ["make ready", "screen", "dismiss"])],
)
def test_a_candidate_that_failed_and_let_others_go_on_ends_none(
    monkeypatch: pytest.MonkeyPatch, count: int, expected: list[str]
) -> None:
    """Those screened behind it in its process say that the card is well."""
    given = on_gpu()
    asked = given.model_copy(update={"screened": (given.trial,) * count})
    slot = Slot(lambda _: _of(given, Outcome.FAILED))
    made, _ = supervised(monkeypatch, slot)
    made.run(asked.model_dump_json())
    assert slot.asked == expected


def test_one_that_fails_in_every_row_ends_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row would wait for a dozen new ones, two seconds, to end them again."""
    found = asked_of(monkeypatch, Outcome.FAILED, times=3)
    assert found == ["make ready", "run", "dismiss", "run alone", "dismiss", "run alone", "dismiss"]
    well = asked_of(monkeypatch, Outcome.FAILED, alone=Outcome.OK, times=4)
    alone = ["run alone"] * WELL_AGAIN
    assert well == ["make ready", "run", "dismiss", *alone, "make ready", "run", "dismiss"]


def test_beside_an_attempt_that_may_use_none_they_are_still_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over ranks: who else is on the card is no stranger. One that lacks memory beside them is
    made again alone.
    """
    over_ranks = on_gpu(gpus=2, ranks=2)

    def ends(_made_ready: bool) -> TrialRecord:
        outcome = Outcome.OOM if slot.waiting else Outcome.OK
        return record_of(over_ranks, outcome, Phase.DONE, utc_now(), {})

    slot = Slot(ends)
    made, stood_by = supervised(monkeypatch, slot)
    slot.waiting = frozenset({7, 8})
    made.run(over_ranks.model_dump_json())
    assert slot.asked == ["run alone", "dismiss", "run alone"]
    assert stood_by == [{7, 8}, set()]


def test_before_an_attempt_over_nodes_they_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """One node cannot make it again by itself."""
    over_nodes = on_gpu(gpus=2, ranks=2)
    slot = Slot(lambda _: record_of(over_nodes, Outcome.OOM, Phase.DONE, utc_now(), {}))
    made, stood_by = supervised(monkeypatch, slot)
    slot.waiting = frozenset({7})
    made.run(over_nodes.model_dump_json(), RankSpan(0, 1, 2, "file://there"))
    assert slot.asked == ["dismiss", "run alone", "dismiss"]
    assert stood_by == [set()]


def test_one_that_lacks_memory_beside_them_is_made_again_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unless a cap of its own was what it lacked."""
    found = asked_of(monkeypatch, Outcome.OOM, alone=Outcome.OK)
    assert found == ["make ready", "run", "dismiss", "run alone"]
    found = asked_of(monkeypatch, Outcome.OK, flags=("allocation_retries",))
    assert found == ["make ready", "run", "dismiss", "run alone"]
    found = asked_of(monkeypatch, Outcome.OOM, gpu_memory_gib=8.0)
    assert found == ["make ready", "run", "dismiss"]
