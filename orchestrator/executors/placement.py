"""Where slots go: pure arithmetic over the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A node as the scheduler describes it."""

    node_id: str
    address: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class SlotPlan:
    """One slot: a node, and the cores and GPUs of it that the slot takes."""

    node: Node
    cpus: int
    gpus: int


def place(
    nodes: Sequence[Node], *, device: str, gpus: int, cpus: int | None, max_concurrent: int | None
) -> list[SlotPlan]:
    """The slots of a sweep.

    On CUDA one slot per `gpus` GPUs of a node; on the CPU one per node, with all its cores, unless `max_concurrent`
    asks for more. `max_concurrent` bounds them all; slots are dealt to the node with most room left. No node is given
    more slots than it has cores for, and a CPU slot that asks for more cores than a node has gets all of them.

    Args:
        nodes: the nodes alive.
        device: "cpu" or "cuda".
        gpus: GPUs of one slot, on CUDA.
        cpus: cores of one slot; None: an equal share of the node's.
        max_concurrent: the most slots; None: as many as the rule above gives.
    """
    if device == "cuda":
        room = [min(node.gpus // gpus, _by_cores(node, cpus)) for node in nodes]
    else:
        room = [min(1 if max_concurrent is None else node.cpus, _by_cores(node, cpus)) for node in nodes]
    counts = _deal(room, sum(room) if max_concurrent is None else max_concurrent)
    return [
        SlotPlan(node, cpus or max(1, node.cpus // count), gpus if device == "cuda" else 0)
        for node, count in zip(nodes, counts, strict=True)
        for _ in range(count)
    ]


def _by_cores(node: Node, cpus: int | None) -> int:
    """How many slots of `cpus` cores a node has room for; at least one where it has any core at all."""
    return min(node.cpus, max(1, node.cpus // (cpus or 1)))


def _deal(room: Sequence[int], wanted: int) -> list[int]:
    """How many of `wanted` slots each node gets, dealt one by one to the node with most room left."""
    counts = [0] * len(room)
    for _ in range(min(wanted, sum(room))):
        index = max(range(len(room)), key=lambda at: (room[at] - counts[at], -at))
        counts[index] += 1
    return counts
