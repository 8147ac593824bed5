"""Which cores a slot's attempts run on: each slot has its own, near its GPU where the machine tells. Pure."""

from __future__ import annotations

from collections.abc import Collection


def cores_of_slot(
    allowed: Collection[int], near: Collection[int], count: int, ordinal: int, sharing: int
) -> tuple[int, ...]:
    """The cores that attempts of a slot are pinned to; empty: they are not pinned.

    Slots of one node take `count` cores each, one after the other in the order of their ordinals, first among the cores
    near their GPU. A slot alone on its node is not pinned, nor is one of slots that ask for more cores than there are.

    Args:
        allowed: cores that this process may use.
        near: those nearest to the slot's GPU; none: not known.
        count: cores of a slot.
        ordinal: the slot's number on its node.
        sharing: how many slots share the node.
    """
    if sharing <= 1 or sharing * count > len(allowed):
        return ()
    cores = sorted(allowed)
    mine = cores[ordinal * count : (ordinal + 1) * count]
    beside = sorted(set(near) & set(allowed))
    if not near or set(mine) <= set(beside):
        return tuple(mine)
    # Slots whose GPUs hang on one socket come one after the other: by their order within the socket's share of slots.
    here = max(1, sharing * len(beside) // len(cores))
    start = ordinal % here * count
    return tuple(beside[start : start + count]) if start + count <= len(beside) else tuple(mine)
