"""Outcome, Phase, Flag: what can happen to an attempt."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How an attempt ended."""

    OK = "ok"
    MISMATCH = "mismatch"
    OOM = "oom"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"
    IMPLAUSIBLE = "implausible"
    LOST = "lost"


class Phase(StrEnum):
    """Where an attempt was when it ended."""

    BUILD = "build"
    FIRST_CALL = "first_call"
    VERIFY = "verify"
    WARM_UP = "warm_up"  # while a GPU's energy is read; elsewhere warm-up belongs to `measure`
    MEASURE = "measure"
    MEMORY = "memory"
    DONE = "done"


class Flag(StrEnum):
    """A warning on a row.

    `cut`: timing stopped early, because it was clearly slower than the best.
    `screened`: its figures are from a process that it shared with other candidates of a search.
    `unproven`: it may memoize outputs by the values of its inputs; a note has the evidence.
    `predicted` (`oom` rows only): not run, because a smaller trial was out of memory.
    """

    NOISY = "noisy"
    THROTTLED = "throttled"
    CONTENDED = "contended"
    ALLOCATION_RETRIES = "allocation_retries"
    CUT = "cut"
    PREDICTED = "predicted"
    UNPROVEN = "unproven"
    SCREENED = "screened"


DEVICE_FAULT = "device_fault"  # a note: the GPU itself was at fault

DISTURBED = frozenset({Flag.THROTTLED.value, Flag.CONTENDED.value})  # by what else the machine did
UNRANKED = DISTURBED | {Flag.SCREENED.value}  # a row so flagged wins nothing and is on no level
