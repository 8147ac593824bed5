"""Slots over one node and over several, which slot has which point, and what a busy cluster is
waited for.
"""

from __future__ import annotations

from typing import Any

import pytest
from ray.exceptions import RayTaskError

from orchestrator.attempt_result import AttemptResult
from orchestrator.errors import UnfitMachineError
from orchestrator.executors import waiting
from orchestrator.executors.placement import Node, SlotPlan, place
from orchestrator.executors.slots import Points, Slot, end_of, reason_of
from orchestrator.executors.waiting import Waiting
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import record_of
from orchestrator.supervisor.cores import cores_of_slot
from orchestrator.supervisor.supervisor import SupervisorReport
from tests.support.attempts import attempt

PAIR = [Node("a", "10.0.0.1", 8, 2), Node("b", "10.0.0.2", 8, 2)]


def parts(nodes: list[Node], **asked: Any) -> list[list[tuple[str, int, int]]]:
    """(node, GPUs, ranks) of each part of each slot."""
    defaults = {"device": "cuda", "gpus": 2, "cpus": None, "max_concurrent": None}
    plans = place(nodes, **{**defaults, **asked})
    return [[(part.node.node_id, part.gpus, part.ranks) for part in plan.parts] for plan in plans]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"gpus": 2, "ranks": 2}, [[("a", 2, 0)], [("b", 2, 0)]]),
        ({"gpus": 4, "ranks": 4}, [[("a", 2, 2), ("b", 2, 2)]]),
        ({"gpus": 3, "ranks": 3}, [[("a", 2, 2), ("b", 1, 1)]]),
        ({"gpus": 2, "ranks": 2, "spread": True}, [[("a", 1, 1), ("b", 1, 1)]]),
        ({"gpus": 5, "ranks": 5}, []),
        ({"gpus": 4, "ranks": 1}, []),
        ({"device": "cpu", "ranks": 3}, [[("a", 0, 0)], [("b", 0, 0)]]),
        ({"device": "cpu", "ranks": 3, "spread": True}, [[("a", 0, 2), ("b", 0, 1)]]),
        ({"gpus": 1, "exclusive": True}, [[("a", 2, 0)], [("b", 2, 0)]]),
    ],
)
def test_ranks_are_packed_on_one_node_or_take_several(
    asked: dict[str, Any], expected: list[Any]
) -> None:
    """Several where one has too few cards, or where they are to be spread; a process that sees all
    its cards never.
    """
    assert parts(PAIR, **asked) == expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (3, [[("0", 0, 1), ("1", 0, 1)]]),
        (4, [[("0", 0, 1), ("1", 0, 1)], [("2", 0, 1), ("3", 0, 1)]]),
        (1, [[("0", 0, 2)]]),
    ],
)
def test_every_slot_spreads_its_ranks_alike(nodes: int, expected: list[Any]) -> None:
    """A node that is left over is no slot: rows there would have all ranks on one node."""
    cluster = [Node(str(number), f"10.0.0.{number}", 8, 0) for number in range(nodes)]
    assert parts(cluster, device="cpu", ranks=2, spread=True)[: len(expected) + 1] == expected


@pytest.mark.parametrize(("ranks", "spans"), [(1, [(0, 1)]), (2, [(0, 2)]), (3, [(0, 2), (2, 1)])])
def test_a_trial_of_fewer_ranks_takes_as_few_parts_of_a_slot(
    ranks: int, spans: list[tuple[int, int]]
) -> None:
    """The first node's ranks first."""
    plan = SlotPlan(PAIR[0], 8, 2, 2, rest=(SlotPlan(PAIR[1], 8, 2, 2),))
    assert plan.spans(ranks) == spans


def test_all_rows_of_a_point_run_on_one_slot() -> None:
    """Points are dealt to slots; one that has begun stays where it is, others may be taken over."""
    points = Points()
    first, second = attempt("right", rows=16), attempt("right", rows=32)
    other = attempt("wrong", rows=16)
    assert points.take(first, 0, [0, 1])
    assert not points.take(other, 1, [0, 1])
    assert not points.take_over(other, 1)
    assert points.take(other, 0, [0, 1])
    assert not points.take(second, 0, [0, 1])
    assert points.take_over(second, 0)
    assert not points.take(second, 1, [0, 1])


def test_the_points_of_a_slot_that_is_lost_go_to_another() -> None:
    """Whatever was measured there already."""
    points = Points()
    one = attempt("right", rows=16)
    assert points.take(one, 0, [0, 1, 2])
    assert points.take(one, 1, [1, 2]) or points.take(one, 2, [1, 2])


@pytest.mark.parametrize(
    ("near", "ordinal", "expected"),
    [
        ((), 0, (0, 1)),
        ((), 3, (6, 7)),
        ((4, 5, 6, 7), 2, (4, 5)),
        ((4, 5, 6, 7), 3, (6, 7)),
        ((0, 1, 4, 5), 0, (0, 1)),
        ((0, 1, 4, 5), 1, (4, 5)),
    ],
)
def test_each_slot_has_cores_of_its_own_near_its_card(
    near: tuple[int, ...], ordinal: int, expected: tuple[int, ...]
) -> None:
    """Four slots of two cores each on a machine of eight."""
    assert cores_of_slot(range(8), near, 2, ordinal, 4) == expected


@pytest.mark.parametrize(("count", "sharing"), [(8, 1), (3, 4)])
def test_a_slot_alone_or_one_that_asks_for_too_much_is_not_pinned(count: int, sharing: int) -> None:
    """It may use what the machine has."""
    assert cores_of_slot(range(8), (), count, 0, sharing) == ()


class FullCluster:
    """What `Waiting` asks of Ray."""

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 0.0}

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0, "GPU": 2.0}

    def get_runtime_context(self) -> FullCluster:
        return self

    def get_job_id(self) -> str:
        return "02"


def held() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two actors of another driver, one of our own, and one that is dead."""
    actor = {"State": "ALIVE", "JobID": "01", "ActorClassName": "Trainer"}
    actors = [actor, actor, {**actor, "JobID": "02"}, {**actor, "State": "DEAD"}]
    return actors, [{"JobID": "01", "DriverPid": 4711, "DriverIPAddress": "10.0.0.9"}]


def test_who_holds_a_busy_cluster_is_said_once_in_a_while_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a slot takes, what is free, whose actors hold the rest; and no word in the first
    seconds.
    """
    now = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    patient = Waiting(FullCluster(), held, 100.0, _begun=0.0)
    plan = SlotPlan(PAIR[0], 4, 1)
    assert patient.note(plan) == []
    now[0] = 10.0
    (note,) = patient.note(plan)
    assert note.text == (
        "waiting for the cluster for 10 s: a slot takes 4 CPUs and 1 GPUs, 0 CPUs of 8 CPUs and 2 GPUs are free, "
        "held by 2 Trainer of driver 4711 on 10.0.0.9"
    )
    now[0] = 20.0
    assert patient.note(plan) == []
    now[0] = 101.0
    with pytest.raises(UnfitMachineError, match=r"given up after resources.wait_s = 100"):
        patient.note(plan)


def test_the_reports_of_all_nodes_are_one_end() -> None:
    """The record of what ended badly, all logs and observations in the order of the ranks."""
    given = attempt("honest")

    def report(outcome: Outcome, card: str, unclean: str = "") -> SupervisorReport:
        record = record_of(given, outcome, Phase.MEASURE, "2026-11-22", {}, cards=(card,))
        result = AttemptResult(record=record).model_dump_json()
        return SupervisorReport(result, card.encode(), [card], unclean)

    slot = Slot(3, SlotPlan(Node("1", "10.0.0.1", 8, 2), 8, 2), expected=2)
    slot.reports = {1: report(Outcome.CRASHED, "b", "memory is held"), 0: report(Outcome.OK, "a")}
    end = end_of(slot)
    assert (end.result.record.outcome, end.result.record.slot) == (Outcome.CRASHED, 3)
    assert end.result.record.cards == ("a", "b")
    assert (end.log, end.observations, end.unclean) == (b"ab", ["a", "b"], "memory is held")


def test_an_exception_of_a_supervisor_is_told_in_one_line_and_kept_whole() -> None:
    """Ray wraps it into a coloured traceback."""
    error = RayTaskError("run", "Traceback\n  File x, line 1\nOSError: gone", OSError("gone"))
    line, whole = reason_of(error.as_instanceof_cause())
    assert line == "it raised OSError: gone"
    assert b"Traceback\n  File x, line 1\n" in whole
    assert b"\x1b" not in whole


def test_the_death_of_an_actor_is_told_in_ray_s_words() -> None:
    """Without its line breaks; by its type where there are no words."""
    assert reason_of(ValueError("it\n  died")) == ("it died", b"it\n  died\n")
    assert reason_of(ValueError()) == ("ValueError", b"\n")
