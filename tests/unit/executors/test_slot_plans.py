"""The slots that a sweep asks of a cluster of unlike nodes."""

from __future__ import annotations

import pytest

from orchestrator.errors import UnfitMachineError
from orchestrator.executors.placement import Node, SlotPlan
from orchestrator.executors.session import RayOptions
from orchestrator.executors.slot_plans import slot_plans
from orchestrator.executors.slots import Slot, by_model, stranded_model
from orchestrator.trial import Attempt
from tests.support.attempts import attempt

OLD, NEW, MORE, PLAIN = (
    Node("a", "10.0.0.1", 8, 2, ("A100",)),
    Node("b", "10.0.0.2", 8, 2, ("H200",)),
    Node("c", "10.0.0.3", 8, 2, ("H200",)),
    Node("d", "10.0.0.4", 8, 2),
)
EACH = RayOptions(per_accelerator=True)


def on(model: str) -> Attempt:
    """An attempt that is for a model."""
    made = attempt("right")
    return made.model_copy(update={"trial": made.trial.on(model)})


def shares(options: RayOptions, nodes: list[Node], most: int | None, *models: str) -> list[str]:
    """`model@node` of each slot."""
    plans = slot_plans(options, "cuda", nodes, most, models)
    return [f"{plan.accelerator}@{plan.node.node_id}" for plan in plans]


def test_each_model_has_slots_of_its_own() -> None:
    """By name of the model; a node that names none is left out, and without the option is not."""
    assert shares(EACH, [NEW, PLAIN, OLD], None) == ["A100@a", "A100@a", "H200@b", "H200@b"]
    assert shares(RayOptions(), [PLAIN], None) == ["@d", "@d"]


def test_the_most_slots_are_shared_among_the_models() -> None:
    """As evenly as can be."""
    assert shares(EACH, [OLD, NEW, MORE], 3) == ["A100@a", "A100@a", "H200@b"]


def test_a_model_without_a_slot_is_refused_by_name() -> None:
    """Else its rows would wait for ever: fewer slots than models, or a node without room."""
    with pytest.raises(UnfitMachineError, match=r"trial on H200 .*max_concurrent: 1 is shared"):
        shares(EACH, [OLD, NEW], 1)
    small = Node("e", "10.0.0.5", 8, 0, ("T4",))
    with pytest.raises(UnfitMachineError, match=r"no room for a trial on T4 \(10\.0\.0\.5\)"):
        shares(EACH, [OLD, small], None)
    with pytest.raises(UnfitMachineError, match="no node names a model"):
        shares(EACH, [PLAIN], None)


def test_nodes_that_join_count_if_their_model_is_measured() -> None:
    """Others, and too little room, are no fault by then."""
    assert shares(EACH, [MORE], None, "H200") == ["H200@c", "H200@c"]
    assert shares(EACH, [OLD, PLAIN], None, "H200") == []
    assert shares(EACH, [MORE], 0, "H200") == []


def test_a_slot_runs_what_is_for_its_model() -> None:
    """And anything where models are not told apart, whatever a param is called."""
    old, new = (Slot(0, SlotPlan(OLD, 8, 1, accelerator="A100")), Slot(1, SlotPlan(NEW, 8, 1)))
    assert (old.suits(on("A100")), old.suits(on("H200")), old.suits(attempt("right"))) == (
        True,
        False,
        False,
    )
    assert new.suits(on("H200"))
    assert new.suits(attempt("right"))
    assert by_model([old, new]) == {"A100": [0], "": [1]}


def test_attempts_for_a_model_without_a_slot_stranded_model_once_nothing_else_runs() -> None:
    """Not while something runs or can: that may be for the better."""
    old = Slot(0, SlotPlan(OLD, 8, 1, accelerator="A100"))
    assert stranded_model([on("H200")], [old]) == "H200"
    assert not stranded_model([on("H200"), on("A100")], [old])
    assert not stranded_model([], [old])
    old.attempt = on("A100")
    assert not stranded_model([on("H200")], [old])
