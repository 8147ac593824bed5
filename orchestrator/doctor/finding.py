"""One answer of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: what was looked at, in a word or two.
        state: ok; warn: figures will be noisier, or something is missing that a sweep can do
            without; bad: a sweep cannot run, or its figures would be wrong.
        message: what was found.
        advice: what to do about it; empty: nothing.
    """

    check: str
    state: State
    message: str
    advice: str = ""
