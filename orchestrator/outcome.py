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
    """A doubt about a row that is ok: `cut`, timing stopped early, as it was plainly slower than
    the best.

    `screened`: its figures are from a process that it shared with other candidates of a search.
    `unproven`: it may remember outputs by the values of its inputs; a note has the evidence.
    And one of a row that is not: `predicted`, it was not run, as a smaller one was out of memory.
    """

    NOISY = "noisy"
    THROTTLED = "throttled"
    CONTENDED = "contended"
    ALLOCATION_RETRIES = "allocation_retries"
    CUT = "cut"
    PREDICTED = "predicted"
    UNPROVEN = "unproven"
    SCREENED = "screened"


DEVICE_FAULT = "device_fault"


DISTURBED = frozenset({Flag.THROTTLED.value, Flag.CONTENDED.value})  # by what else the machine did
UNRANKED = DISTURBED | {Flag.SCREENED.value}  # a row so flagged wins nothing and is on no level
