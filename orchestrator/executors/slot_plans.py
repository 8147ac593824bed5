"""The slots that a sweep asks of a cluster, of each model of accelerator by itself where asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.errors import UnfitMachineError
from orchestrator.executors.placement import Node, SlotPlan, place
from orchestrator.executors.session import RayOptions

NONE_NAMED = (
    "resources.per_accelerator: no node names a model (`ray status -v` shows them). Ray names "
    "those of GPUs; others are named by `ray start --resources='{\"accelerator_type:NAME\": 1}'`"
)


def slot_plans(
    options: RayOptions,
    device: str,
    nodes: Sequence[Node],
    most: int | None,
    models: Sequence[str] = (),
) -> list[SlotPlan]:
    """The slots of a sweep, at most so many.

    Args:
        options: what the sweep needs.
        device: "cpu" or "cuda".
        nodes: those alive that it may use.
        most: the most slots, shared by the models where each has its own; None: any number.
        models: that the sweep measures on, once that is settled; empty: on all there are.

    Raises:
        UnfitMachineError: on each model is to be measured, and none is named or one has no room.
    """
    if not options.per_accelerator:
        return _placed(options, device, nodes, most)
    nodes_of = _by_model(nodes, models)
    if not nodes_of and not models:
        raise UnfitMachineError(NONE_NAMED)
    found = []
    for number, (model, own) in enumerate(nodes_of.items()):
        share = None
        if most is not None:
            share, left_over = divmod(most, len(nodes_of))
            if number < left_over:
                share += 1
        plans = _placed(options, device, own, share)
        if not plans and not models:
            where = ", ".join(node.address for node in own)
            limit = "" if most is None else f"; max_concurrent: {most} is shared by all models"
            raise UnfitMachineError(f"there is no room for a trial on {model} ({where}{limit})")
        found += [replace(plan, accelerator=model) for plan in plans]
    return found


def _by_model(nodes: Sequence[Node], models: Sequence[str]) -> Mapping[str, list[Node]]:
    """Model -> its nodes, by name; of `models` alone, if there are any.

    A node of several models counts as one of the first; one that names none is left out.
    """
    found: dict[str, list[Node]] = {}
    for node in nodes:
        if node.accelerators and (not models or node.accelerators[0] in models):
            found.setdefault(node.accelerators[0], []).append(node)
    return dict(sorted(found.items()))


def _placed(
    options: RayOptions, device: str, nodes: Sequence[Node], most: int | None
) -> list[SlotPlan]:
    return place(
        nodes,
        device=device,
        gpus=options.gpus,
        cpus=options.cpus,
        max_concurrent=most,
        ranks=options.ranks,
        spread=options.spread,
        exclusive=options.exclusive_node,
    )
