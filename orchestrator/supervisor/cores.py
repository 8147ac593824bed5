"""Assigns cores to a slot's attempts: its own, near its GPU if the machine says which. Pure."""

from __future__ import annotations

from collections.abc import Collection


def cores_of_slot(
    allowed: Collection[int], near: Collection[int], count: int, ordinal: int, sharing: int
) -> tuple[int, ...]:
    """The cores to pin a slot's attempts to; empty: they are not pinned.

    Slots of one node take `count` cores each, in the order of their ordinals, first among the cores
    near their GPU. A slot alone on its node is not pinned. None is if the slots together ask for
    more cores than there are.

    Args:
        allowed: cores that this process may use.
        near: cores nearest to the slot's GPU; empty: not known.
        count: cores of a slot.
        ordinal: the slot's number on its node.
        sharing: how many slots share the node.
    """
    if sharing <= 1 or sharing * count > len(allowed):
        return ()
    cores = sorted(allowed)
    mine = cores[ordinal * count : (ordinal + 1) * count]
    nearest = sorted(set(near) & set(allowed))
    if not near or set(mine) <= set(nearest):
        return tuple(mine)
    # Slots whose GPUs are on one socket have consecutive ordinals: place each by its rank there.
    here = max(1, sharing * len(nearest) // len(cores))
    start = ordinal % here * count
    if start + count > len(nearest):
        return tuple(mine)
    return tuple(nearest[start : start + count])
