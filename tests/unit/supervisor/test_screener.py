"""Candidates are compiled once each, before they are screened; on a GPU those of later attempts
while others are screened.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.attempt_result import AttemptResult
from orchestrator.isolation.isolator import Completed
from orchestrator.isolation.request import Call
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord, record_of, utc_now
from orchestrator.supervisor.compile_ahead import Compiled, ToCompile
from orchestrator.supervisor.screener import SPARE_CORES, Screener
from orchestrator.trial import Attempt, Resources, Trial
from tests.support.attempts import attempt
from tests.unit.supervisor.test_made_ready import ROOMY_GIB, card


def trials(*names: str) -> tuple[Trial, ...]:
    return tuple(
        Trial.of(implementation="x", use="x", params={}, options={"name": name}) for name in names
    )


def named(found: Sequence[Trial]) -> list[str]:
    return [trial.options["name"] for trial in found]


def screening(own: Sequence[Trial], later: Sequence[Trial] = ()) -> Attempt:
    return attempt("honest", device="cuda", resources=Resources(gpus=1, cpus=1)).model_copy(
        update={"trial": own[0], "screened": tuple(own), "screened_next": tuple(later)}
    )


class Processes:
    """An isolator that does what its `screened` says, and keeps what it was asked for.

    `hold` keeps what compiles from ending until it is set.
    """

    def __init__(self, outcomes: Sequence[dict[str, Outcome]] = ()) -> None:
        self.compiled: list[tuple[list[str], int]] = []
        self.screened: list[list[str]] = []
        self.made_ready: list[bool] = []
        self.dismissed = 0
        self.hold = threading.Event()
        self.hold.set()
        self._outcomes = list(outcomes)

    def call(self, call: Call[Any]) -> Compiled:
        assert self.hold.wait(20)
        asked = call.argument
        assert isinstance(asked, ToCompile)
        self.compiled.append((named(asked.attempt.screened), asked.spare_cores))
        return Compiled(count=len(asked.attempt.screened))

    def make_ready(self, count: int) -> frozenset[int]:
        return frozenset(range(count))

    def dismiss(self) -> None:
        self.dismissed += 1

    def screen(
        self, asked: Attempt, _target: str, _on_phase: object, *, made_ready: bool
    ) -> Completed:
        self.screened.append(named(asked.screened))
        self.made_ready.append(made_ready)
        given = self._outcomes.pop(0) if self._outcomes else {}
        first, *others = [_ended(own, given) for own in asked.of_each_trial()]
        self.hold.set()
        return Completed(AttemptResult(record=first, others=tuple(others)), b"log ")

    def kill(self) -> None:
        self.hold.set()

    def close(self) -> None:
        pass


def _ended(own: Attempt, outcomes: dict[str, Outcome]) -> TrialRecord:
    outcome = outcomes.get(own.trial.options["name"], Outcome.OK)
    return record_of(own, outcome, Phase.DONE, utc_now(), {})


def screener(processes: Any, api: Any, cores: int = 16) -> Screener:
    return Screener(processes, cores, api, lambda: processes)


@pytest.fixture(autouse=True)
def _every_card_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_what_comes_later_is_compiled_meanwhile_in_groups_and_once() -> None:
    """As many in a group as are screened in a process; two cores are left to what is timed."""
    processes = Processes()
    tried = screener(processes, card())
    first, later = trials("a", "b"), trials("c", "d", "e")
    tried.compile(screening(first, later))
    tried.screen(screening(first, later), lambda _phase: None)
    tried.compile(screening(later[:2], later[2:]))
    tried.wait()
    assert processes.compiled == [(["a", "b"], 0), (["c", "d"], SPARE_CORES), (["e"], SPARE_CORES)]
    assert processes.screened == [["a", "b"]]
    tried.close()


@pytest.mark.parametrize(
    ("api", "cores"), [(None, 16), (card(gib=ROOMY_GIB - 1), 16), (card(), SPARE_CORES)]
)
def test_nothing_is_compiled_beside_what_it_would_disturb(api: Any, cores: int) -> None:
    """A CPU that is timed, a card without room, a machine without cores to spare."""
    processes = Processes()
    tried = screener(processes, api, cores)
    asked = screening(trials("a"), trials("b"))
    tried.compile(asked)
    tried.screen(asked, lambda _phase: None)
    tried.wait()
    assert processes.compiled == [(["a"], 0)]
    tried.close()


def test_one_that_is_out_of_memory_beside_them_is_screened_again_without_them() -> None:
    """Its second end counts; what was ok is not made again."""
    processes = Processes([{"b": Outcome.OOM, "c": Outcome.OOM}, {"c": Outcome.OOM}])
    tried = screener(processes, card())
    asked = screening(trials("a", "b", "c"), trials("d"))
    tried.compile(asked)
    processes.hold.clear()  # until the first screening is over
    done = tried.screen(asked, lambda _phase: None)
    assert processes.screened == [["a", "b", "c"], ["b", "c"]]
    outcomes = [record.outcome for record in done.result.records]
    assert outcomes == [Outcome.OK, Outcome.OK, Outcome.OOM]
    assert [record.options["name"] for record in done.result.records] == ["a", "b", "c"]
    assert done.log == b"log log "
    tried.close()


def test_one_that_is_out_of_memory_beside_those_that_stand_by_is_screened_again() -> None:
    """They are ended first."""
    processes = Processes([{"a": Outcome.OOM}])
    tried = screener(processes, card())
    tried.compile(screening(trials("a")))
    done = tried.screen(screening(trials("a")), lambda _phase: None, ready=6)
    assert done.result.record.outcome is Outcome.OK
    assert processes.made_ready == [True, False]
    assert processes.dismissed == 1
    tried.close()


def test_one_that_is_out_of_memory_by_its_own_cap_is_so() -> None:
    """Others left it as much as it may take."""
    processes = Processes([{"a": Outcome.OOM}])
    tried = screener(processes, card())
    asked = screening(trials("a"))
    capped = asked.resources.model_copy(update={"gpu_memory_gib": 8.0})
    asked = asked.model_copy(update={"resources": capped})
    tried.compile(asked)
    done = tried.screen(asked, lambda _phase: None, ready=6)
    assert done.result.record.outcome is Outcome.OOM
    assert processes.screened == [["a"]]
    tried.close()


def test_one_that_is_out_of_memory_alone_is_so() -> None:
    """It is not screened again."""
    processes = Processes([{"a": Outcome.OOM}])
    tried = screener(processes, card())
    tried.compile(screening(trials("a")))
    tried.screen(screening(trials("a")), lambda _phase: None)
    assert processes.screened == [["a"]]
    tried.close()


def test_it_can_be_closed_while_it_compiles() -> None:
    """What waits is not begun any more, and who waits for it goes on."""
    processes = Processes()
    tried = screener(processes, card())
    asked = screening(trials("a"), trials("b", "c"))
    tried.compile(asked)
    processes.hold.clear()
    processes.screen = lambda *_, **_how: Completed(  # type: ignore[method-assign]
        AttemptResult(record=_ended(asked, {}))
    )
    tried.screen(asked, lambda _phase: None)
    tried.close()
    tried.wait()
    assert processes.compiled[0] == (["a"], 0)
    assert len(processes.compiled) <= 2
