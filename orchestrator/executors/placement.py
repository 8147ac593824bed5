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
    asks for more. `max_concurrent` bounds them all; slots are dealt to the nodes in turn.

    Args:
        nodes: the nodes alive.
        device: "cpu" or "cuda".
        gpus: GPUs of one slot, on CUDA.
        cpus: cores of one slot; None: an equal share of the node's.
        max_concurrent: the most slots; None: as many as the rule above gives.
    """
    if device == "cuda":
        room = [node.gpus // gpus for node in nodes]
    else:
        room = [1 if max_concurrent is None else max(1, node.cpus // (cpus or 1)) for node in nodes]
    counts = _deal(room, sum(room) if max_concurrent is None else max_concurrent)
    return [
        SlotPlan(node, cpus or max(1, node.cpus // count), gpus if device == "cuda" else 0)
        for node, count in zip(nodes, counts, strict=True)
        for _ in range(count)
    ]


def _deal(room: Sequence[int], wanted: int) -> list[int]:
    """How many of `wanted` slots each node gets, dealt one by one to the node with most room left."""
    counts = [0] * len(room)
    for _ in range(min(wanted, sum(room))):
        index = max(range(len(room)), key=lambda at: (room[at] - counts[at], -at))
        counts[index] += 1
    return counts
