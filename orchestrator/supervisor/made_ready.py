"""Decides which attempts run in processes that were made ready ahead (isolation/standby.py)."""

from __future__ import annotations

from types import ModuleType

from orchestrator.attempt_result import AttemptResult
from orchestrator.isolation.ranks import RankSpan
from orchestrator.machine import nvml
from orchestrator.outcome import Flag, Outcome
from orchestrator.supervisor.device_health import WELL
from orchestrator.trial import Attempt
from orchestrator.util.quantities import GIB

# On an H200 one is ready after 1.4 s, six after 1.4 to 1.7, twelve after 2.3, eighteen after 3.6;
# each takes 0.7 GiB of the card.
MOST = 12
IN_A_SEARCH = 6  # where nobody knows how many attempts follow
ROOMY_GIB = 40.0  # of a card on which a few contexts are no great part
# Of these the card is as it was; a sweep may have many of them.
HARMLESS = WELL | {Outcome.MISMATCH, Outcome.IMPLAUSIBLE}
# Attempts that must do no harm after one that did: an implementation that fails in every row would
# end a dozen processes in each.
WELL_AGAIN = 2


def to_make_ready(
    attempt: Attempt, span: RankSpan | None, slots: int, well: int, api: ModuleType | None
) -> int:
    """How many processes may be made ready for the attempt and those after it, if none waits yet;
    0: it is to run in one that was not.

    That is 0 where compilers are timed from cold, nor on a card that is too small for several
    contexts, or that admits one process only.

    Args:
        attempt: what is to be run.
        span: which of its ranks run here; None: all.
        slots: how many supervisors of this node share what is left of the sweep.
        well: how many attempts did no harm since one that did.
        api: pynvml, initialised; None: there is no GPU.
    """
    resources = attempt.resources
    if api is None or well < WELL_AGAIN or attempt.compile_times:
        return 0
    if span is not None or resources.ranks > 1 or resources.gpus > 1:
        return 0
    count = IN_A_SEARCH
    if attempt.left is not None:
        count = min(MOST, 1 + attempt.left // slots)
    return count if has_room_beside(attempt, count, api) else 0


def has_room_beside(attempt: Attempt, count: int, api: ModuleType) -> bool:
    """Whether a card has room for the attempt and `count` more processes that do little on it.

    Args:
        attempt: what is to be run.
        count: of the other processes.
        api: pynvml, initialised.
    """
    gpu = nvml.handle(api)
    if gpu is None or not nvml.admits_several(api, gpu):
        return False
    needed_gib = ROOMY_GIB
    if attempt.resources.gpu_memory_gib is not None:
        needed_gib = attempt.resources.gpu_memory_gib + count + 2
    return nvml.total_bytes(api, gpu) >= needed_gib * GIB


def short_of_memory(attempt: Attempt, result: AttemptResult) -> list[str]:
    """The ids of the trials that would have had more memory if no other process of ours had been on
    the card.
    """
    if attempt.resources.gpu_memory_gib is not None:
        return []  # its own cap is less than what was left
    retried = Flag.ALLOCATION_RETRIES.value
    found = []
    for record in result.records:
        if record.outcome is Outcome.OOM or retried in record.flags:
            found.append(record.trial_id)
    return found
