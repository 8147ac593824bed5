"""Where slots go: pure arithmetic over the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import UnfitMachineError

ACCELERATOR = "accelerator_type:"  # what Ray puts before a GPU's model among a node's resources


@dataclass(frozen=True)
class Node:
    """A node as the scheduler describes it; `accelerators` are the models of its GPUs."""

    node_id: str
    address: str
    cpus: int
    gpus: int
    accelerators: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlotPlan:
    """One slot: a node, and the cores and GPUs of it that the slot takes.

    Attributes:
        ranks: processes of a trial that the node takes; 0: as many as the trial has, all of them.
        ordinal, sharing: the slot's number on its node, and how many slots share the node.
        rest: further parts of the slot on other nodes, each with its share of the ranks.
        accelerator: the model whose attempts it runs; "": any attempt.
    """

    node: Node
    cpus: int
    gpus: int
    ranks: int = 0
    ordinal: int = 0
    sharing: int = 1
    rest: tuple[SlotPlan, ...] = ()
    accelerator: str = ""

    @property
    def parts(self) -> tuple[SlotPlan, ...]:
        """This one and the rest: one for each node."""
        return (self, *self.rest)

    def spans(self, ranks: int) -> list[tuple[int, int]]:
        """(first rank, count) of each part that takes any of a trial's ranks, in order."""
        found, first = [], 0
        for part in self.parts:
            count = ranks - first
            if part.ranks:
                count = min(count, part.ranks)
            if count > 0:
                found.append((first, count))
                first += count
        return found


def usable_nodes(described: Iterable[Mapping[str, Any]], accelerator: str | None) -> list[Node]:
    """The nodes alive that have this model of GPU, if one is asked for.

    Args:
        described: as `ray.nodes()` describes them.
        accelerator: a model; None: any node will do.
    """
    found = []
    for node in described:
        if not node["Alive"]:
            continue
        resources = node["Resources"]
        models = []
        for name in resources:
            if name.startswith(ACCELERATOR):
                models.append(name.removeprefix(ACCELERATOR))
        if accelerator is None or accelerator in models:
            cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
            address = node["NodeManagerAddress"]
            found.append(Node(node["NodeID"], address, cpus, gpus, tuple(models)))
    return found


def place(
    nodes: Sequence[Node],
    *,
    device: str,
    gpus: int,
    cpus: int | None,
    max_concurrent: int | None,
    ranks: int = 1,
    spread: bool = False,
    exclusive: bool = False,
) -> list[SlotPlan]:
    """The slots of a sweep.

    On CUDA one slot per `gpus` GPUs of a node; on the CPU one per node, with all its cores, unless
    `max_concurrent` asks for more. `max_concurrent` bounds them all; slots are dealt to the node
    with most room left. No node is given more slots than it has cores for, and a CPU slot that asks
    for more cores than a node has gets all of them.

    Where trials are over ranks and no node has room for one, or they are to be `spread`, a slot
    takes several nodes.

    Args:
        nodes: the nodes alive.
        device: "cpu" or "cuda".
        gpus: GPUs of one slot, on CUDA.
        cpus: cores of one slot; None: an equal share of the node's.
        max_concurrent: the most slots; None: as many as the rule above gives.
        ranks: the most processes that a trial has.
        spread: whether ranks of a trial are to be on different nodes, as far as there are nodes.
        exclusive: a slot has its node alone, with all that the node has.
    """
    fits_on_a_node = device == "cpu" or any(node.gpus >= gpus for node in nodes)
    if ranks > 1 and (spread or not fits_on_a_node):
        return _across(nodes, device, ranks, cpus, max_concurrent, spread)
    if exclusive:
        whole = []
        for node in nodes:
            if node.cpus and device == "cpu":
                whole.append(SlotPlan(node, node.cpus, 0))
            elif node.cpus and node.gpus >= gpus:
                whole.append(SlotPlan(node, node.cpus, node.gpus))
        return whole[:max_concurrent]
    room = []
    for node in nodes:
        if device == "cuda":
            most = node.gpus // gpus
        elif max_concurrent is None:
            most = 1
        else:
            most = node.cpus
        room.append(min(most, _by_cores(node, cpus)))
    most_slots = sum(room)
    if max_concurrent is not None:
        most_slots = max_concurrent
    found = []
    for node, count in zip(nodes, _deal(room, most_slots), strict=True):
        if cpus:
            cores = min(cpus, node.cpus)
        else:
            cores = node.cpus // max(1, count)
        plan = SlotPlan(node, max(1, cores), gpus if device == "cuda" else 0, sharing=count)
        for ordinal in range(count):
            found.append(replace(plan, ordinal=ordinal))
    return found


def _across(
    nodes: Sequence[Node],
    device: str,
    ranks: int,
    cpus: int | None,
    max_concurrent: int | None,
    spread: bool,
) -> list[SlotPlan]:
    """Slots of several nodes, each node in at most one; empty if all together have too little.

    Where ranks are spread every slot has as many nodes, so that all rows are measured alike.
    """
    on_gpus = device == "cuda"
    # Nodes with many GPUs first, so that a trial is split over as few as possible.
    left = sorted((node for node in nodes if node.cpus), key=lambda node: -node.gpus)
    found: list[SlotPlan] = []
    while max_concurrent is None or len(found) < max_concurrent:
        room = [node.gpus if on_gpus else ranks for node in left]
        if spread:
            counts = _deal(room, ranks)
        else:
            counts = _fill(room, ranks)
        if sum(counts) < ranks:
            return found
        parts, unused = [], []
        for node, count in zip(left, counts, strict=True):
            if not count:
                unused.append(node)
                continue
            cores = min(cpus or node.cpus, node.cpus)
            parts.append(SlotPlan(node, cores, count if on_gpus else 0, count))
        if spread and found and len(parts) < len(found[0].parts):
            return found  # the nodes left would not spread its ranks as the first slot does
        found.append(replace(parts[0], rest=tuple(parts[1:])))
        left = unused
    return found


def _fill(room: Sequence[int], wanted: int) -> list[int]:
    """How many of `wanted` each node gets, as few nodes as may be, the roomiest first."""
    counts: list[int] = []
    for free in room:
        counts.append(min(free, wanted - sum(counts)))
    return counts


def _by_cores(node: Node, cpus: int | None) -> int:
    """How many slots of `cpus` cores a node has room for; at least one if it has a core."""
    return min(node.cpus, max(1, node.cpus // (cpus or 1)))


def _deal(room: Sequence[int], wanted: int) -> list[int]:
    """How many of `wanted` slots each node gets: one by one, to that with the most room left."""
    left = list(room)
    for _ in range(min(wanted, sum(room))):
        roomiest = left.index(max(left))  # of equal ones the first
        left[roomiest] -= 1
    return [most - free for most, free in zip(room, left, strict=True)]


def device_of(wanted: str, nodes: Sequence[Node]) -> str:
    """The device of a sweep: "auto" is CUDA where any node has a GPU.

    Raises:
        UnfitMachineError: CUDA is wanted where there is none.
    """
    has_gpu = any(node.gpus for node in nodes)
    if wanted == "cuda" and not has_gpu:
        raise UnfitMachineError("--device cuda: Ray sees no GPU; `orchestrator doctor` tells why")
    if wanted == "auto":
        return "cuda" if has_gpu else "cpu"
    return wanted


def no_room(
    nodes: Sequence[Node], device: str, gpus: int, ranks: int, accelerator: str | None
) -> str:
    """Why there is no slot, in words."""
    if not nodes and accelerator:
        return (
            f"no node has the accelerator {accelerator} (resources.accelerator, as `ray status -v` "
            "names it)"
        )
    found = [f"{node.address}: {node.cpus} CPUs, {node.gpus} GPUs" for node in nodes]
    there = ", ".join(found) or "no such node"
    if device == "cuda":
        need = f"{gpus} GPUs"
        if accelerator:
            need += f" of the model {accelerator}"
    else:
        need = f"{ranks} ranks"
    where = "on all nodes together" if ranks > 1 else "on one node"
    return f"a trial needs {need} {where}, and there is no room for it ({there})"
