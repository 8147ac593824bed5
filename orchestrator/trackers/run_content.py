"""Describes a run of a tracking server, as it should be and as it is. Pure, without a server's
library.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_PARAM = 6000
MAX_TAG = 8000
MAX_NAME = 250
DIGITS = 5  # significant digits of a metric in the UI's narrow cells; the journal has all


@dataclass(frozen=True)
class RunContent:
    """A run as it should be.

    Times are milliseconds since 1970, texts within the server's limits, metrics finite.
    """

    name: str
    status: str
    start_ms: int
    end_ms: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Known:
    """A run as the server has it, with its content; end_ms 0: not ended."""

    run_id: str
    content: RunContent

    def can_become(self, wanted: RunContent) -> bool:
        """Whether additions suffice: start and params are written once, no metric is removed."""
        held = self.content
        if held.start_ms != wanted.start_ms:
            return False
        if not held.params.items() <= wanted.params.items():
            return False
        return held.metrics.keys() <= wanted.metrics.keys()

    def is_like(self, wanted: RunContent) -> bool:
        """Whether nothing is left to write; tags that others set are theirs."""
        held = self.content
        if (held.status, held.end_ms) != (wanted.status, wanted.end_ms):
            return False
        if dict(held.params) != dict(wanted.params) or dict(held.metrics) != dict(wanted.metrics):
            return False
        return wanted.tags.items() <= held.tags.items()


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """The figures that a server takes, under legal names, rounded to DIGITS."""
    found = {}
    for name, value in metrics.items():
        if value is None:
            continue
        rounded = float(f"{value:.{DIGITS}g}")
        if math.isfinite(rounded):
            found[legal(name)] = rounded
    return found


def legal(name: str) -> str:
    """`name` with underscores for what a server refuses in the name of a param or metric."""
    parts = re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII).split("/")
    kept = [part for part in parts if part.strip(".")]
    return "/".join(kept)[:MAX_NAME] or "_"


def text(value: Any) -> str:
    """A JSON value as text: strings as they are, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def within(value: str, limit: int) -> str:
    """`value` cut to `limit` characters, the cut named at its end."""
    if len(value) <= limit:
        return value
    mark = f"... [{len(value)} characters; whole in the sweep's files]"
    return value[: limit - len(mark)] + mark
