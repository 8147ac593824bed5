"""What a candidate is, beside its base."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What the candidate is, beside the base."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    UNCLEAR = "unclear"
    NEWLY_FAILING = "newly_failing"
    NEWLY_OK = "newly_ok"
