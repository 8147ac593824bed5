"""Where slots go on a cluster: pure arithmetic over its nodes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.executors.placement import Node, place, usable_nodes
from tests.support import strategies

HEAD, SMALL, LARGE = (
    Node("h", "10.0.0.1", 0, 0),
    Node("s", "10.0.0.2", 4, 0),
    Node("l", "10.0.0.3", 32, 8),
)


def shares(
    nodes: list[Node], device: str = "cpu", gpus: int = 1, **asked: int | None
) -> list[tuple[str, int, int]]:
    """(node, cores, GPUs) of each slot."""
    plans = place(
        nodes, device=device, gpus=gpus, **{"cpus": None, "max_concurrent": None, **asked}
    )
    return [(plan.node.node_id, plan.cpus, plan.gpus) for plan in plans]


def test_a_cpu_sweep_takes_each_node_whole_unless_told_otherwise() -> None:
    """One trial at a time with all cores, so that timings are undisturbed; a head node without
    cores is left out.
    """
    assert shares([HEAD, SMALL, LARGE]) == [("s", 4, 0), ("l", 32, 0)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"max_concurrent": 1}, {("l", 32): 1}),
        ({"max_concurrent": 3}, {("l", 10): 3}),
        ({"max_concurrent": 1000}, {("s", 1): 4, ("l", 1): 32}),
        ({"max_concurrent": 4, "cpus": 4}, {("l", 4): 4}),
        ({"max_concurrent": 1000, "cpus": 4}, {("s", 4): 1, ("l", 4): 8}),
        ({"cpus": 2}, {("s", 2): 1, ("l", 2): 1}),
        ({"cpus": 64}, {("s", 4): 1, ("l", 32): 1}),
    ],
)
def test_several_cpu_trials_at_once_share_the_cores(
    asked: dict[str, int], expected: dict[tuple[str, int], int]
) -> None:
    """Never more slots than max_concurrent, and never more than there are cores for."""
    assert (
        Counter((node, cpus) for node, cpus, _ in shares([HEAD, SMALL, LARGE], **asked)) == expected
    )


@pytest.mark.parametrize(
    ("gpus", "asked", "expected"),
    [
        (1, {}, [("l", 4, 1)] * 8),
        (2, {}, [("l", 8, 2)] * 4),
        (3, {}, [("l", 16, 3)] * 2),
        (8, {}, [("l", 32, 8)]),
        (9, {}, []),
        (1, {"max_concurrent": 2}, [("l", 16, 1)] * 2),
        (1, {"cpus": 16}, [("l", 16, 1)] * 2),
    ],
)
def test_a_gpu_sweep_takes_one_slot_for_as_many_gpus_as_a_trial_needs(
    gpus: int, asked: dict[str, int], expected: list[tuple[str, int, int]]
) -> None:
    """On nodes that have them, with an equal share of the cores."""
    assert shares([HEAD, SMALL, LARGE], "cuda", gpus, **asked) == expected


@given(
    strategies.clusters(), st.sampled_from(["cpu", "cuda"]), st.integers(1, 4), st.none() | st.integers(1, 16),
    st.none() | st.integers(1, 20),
)  # fmt: skip
def test_no_node_is_given_more_than_it_has(
    nodes: list[Node], device: str, gpus: int, cpus: int | None, max_concurrent: int | None
) -> None:
    """Neither GPUs nor cores, but that one slot may ask for more cores than a node has; and
    max_concurrent holds.
    """
    plans = place(nodes, device=device, gpus=gpus, cpus=cpus, max_concurrent=max_concurrent)
    assert max_concurrent is None or len(plans) <= max_concurrent
    for node in nodes:
        here = [plan for plan in plans if plan.node == node]
        assert sum(plan.gpus for plan in here) <= node.gpus
        assert sum(min(plan.cpus, node.cpus) for plan in here) <= node.cpus
        assert all(
            plan.gpus == (gpus if device == "cuda" else 0) and plan.cpus >= 1 for plan in here
        )


@given(strategies.clusters())
def test_every_node_with_a_core_takes_part_in_a_cpu_sweep(nodes: list[Node]) -> None:
    """One slot each."""
    plans = place(nodes, device="cpu", gpus=1, cpus=None, max_concurrent=None)
    assert [plan.node for plan in plans] == [node for node in nodes if node.cpus]


def test_nodes_are_those_alive_with_the_model_that_is_asked_for() -> None:
    """As Ray describes them: a GPU's model is the name of a resource."""

    def described(name: str, alive: bool, **resources: float) -> dict[str, object]:
        return {
            "NodeID": name,
            "NodeManagerAddress": f"10.0.0.{name}",
            "Alive": alive,
            "Resources": {"CPU": 8.0, **resources},
        }

    nodes = [
        described("1", True, **{"GPU": 2.0, "accelerator_type:H100": 1.0}),
        described("2", True),
        described("3", False, **{"GPU": 2.0, "accelerator_type:H100": 1.0}),
    ]
    assert [node.node_id for node in usable_nodes(nodes, None)] == ["1", "2"]
    assert usable_nodes(nodes, "H100") == [Node("1", "10.0.0.1", 8, 2, ("H100",))]
