"""Lays out a sweep's results for every report: heading, columns, counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from orchestrator.formatting import axis_text, printable, shown
from orchestrator.outcome import Flag, Outcome
from orchestrator.results.answers import LIMITS
from orchestrator.results.columns import column_headings, shown_of
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.util.quantities import is_number

NOT_RUN = "not run"


@dataclass(frozen=True)
class Layout:
    """A sweep's results, ready to be written.

    Attributes:
        title: `Benchmark Results - <time of the sweep>`.
        lines: device and dtype, then what the workload says of its constants.
        columns: axis -> heading: the workload's columns, then further axes that vary.
        rows: one per planned trial, in the order of the table.
    """

    results: Results
    title: str
    lines: tuple[str, ...]
    columns: Mapping[str, str]
    rows: Sequence[Row]

    @classmethod
    def of(cls, results: Results) -> Layout:
        """The layout of a sweep's results; imports no torch, and no file that they name."""
        found = results.rows
        lines = (_device_line(results, found), *map(printable, _header(results)))
        sweep_id = results.meta.sweep_id
        title = f"Benchmark Results - {sweep_id.rpartition('_')[0] or sweep_id}"
        return cls(results, title, lines, column_headings(results.meta), found)

    @property
    def sweep_id(self) -> str:
        """The sweep's id."""
        return self.results.meta.sweep_id

    @property
    def outcomes(self) -> dict[str, int]:
        """How many rows ended how: ok first, the rest by count, `not run` last."""
        counts = Counter(map(outcome_of, self.rows))

        def place(name: str) -> tuple[bool, bool, int, str]:
            return name == NOT_RUN, name != Outcome.OK, -counts[name], name

        return {name: counts[name] for name in sorted(counts, key=place)}

    @property
    def flags(self) -> dict[str, int]:
        """How many rows that are ok carry each flag."""
        counts: Counter[str] = Counter()
        for row in self.rows:
            counts.update(row.flags)
        return dict(counts.most_common())

    @property
    def not_allowed(self) -> list[Row]:
        """Rows that ran, are not ok, and whose outcome the sweep does not allow."""
        spec = self.results.meta.spec
        allowed = {Outcome.OK, *spec.allow_outcomes}
        if spec.frontier.axis is not None:
            allowed |= LIMITS  # a frontier looks for them
        return [row for row in self.rows if row.outcome is not None and row.outcome not in allowed]

    def point(self, row: Row) -> tuple[str, ...]:
        """The values of every column as text: rows are compared where these are equal."""
        return self._points[row.trial_id]

    @cached_property
    def _points(self) -> Mapping[str, tuple[str, ...]]:
        found = {}
        for row in self.rows:
            values = [axis_text(name, row.value(name)) for name in self.columns]
            found[row.trial_id] = tuple(values)
        return found

    def point_text(self, row: Row) -> str:
        """`batch=1 seq_len=1024 heads=8`."""
        named = zip(self.columns, self.point(row), strict=True)
        return " ".join(f"{name}={value}" for name, value in named)

    @cached_property
    def busy_s(self) -> float | None:
        """Seconds in which something ran, without pauses before a resume; None: not known."""
        spans = []
        try:
            for record in self.results.made:
                start, end = _seconds(record.started_at), _seconds(record.finished_at)
                spans.append((start, end))
        except ValueError:
            return None
        if not spans:
            return None
        busy, until = 0.0, -math.inf
        # attempts of several slots overlap: what they share counts once
        for start, end in sorted(spans):
            busy += max(0.0, end - max(start, until))
            until = max(until, end)
        return busy


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def outcome_of(row: Row) -> str:
    """`ok`, `oom`, ..., or `not run`."""
    return NOT_RUN if row.outcome is None else str(row.outcome)


def status(row: Row) -> str:
    """`✓`, `✓ noisy`, `✗ oom`, `- not run`."""
    if row.outcome is None:
        return f"- {NOT_RUN}"
    if not row.ok:
        predicted = " predicted" if Flag.PREDICTED.value in row.flags else ""
        return f"✗ {row.outcome}{predicted}"
    return f"✓ {', '.join(map(printable, row.flags))}".strip()


def devices(results: Results) -> list[str]:
    """The names of the devices that the records were made on, in order of appearance."""
    names: dict[str, None] = {}  # a set that keeps the order
    for record in results.records:
        facts = results.environments.get(record.fingerprint.environment, {})
        name = str(facts.get("match", {}).get("model") or record.device)
        if name and name != results.meta.device:
            names[name] = None
    return list(names)


def _device_line(results: Results, found: Sequence[Row]) -> str:
    line = f"Device: {results.meta.device}"
    names = devices(results)
    if names:
        line += f" ({printable(', '.join(names))})"
    dtypes: dict[str, None] = {}  # a set that keeps the order
    for row in found:
        if "dtype" in row.params:
            dtypes[f"torch.{shown(row.params['dtype'])}"] = None
    if dtypes:
        line += f", Dtype: {', '.join(dtypes)}"
    return line


def _header(results: Results) -> Sequence[str]:
    """What the workload says of its constants; without a word of its own their names and values."""
    own = shown_of(results.meta)
    if own is not None:
        return own.header
    lines = []
    for name, value in results.meta.spec.constants.items():
        if name != "dtype":  # the line of the device says it
            lines.append(f"{name}: {shown(value)}")
    return lines


def cells(layout: Layout, row: Row) -> list[Any]:
    """The row's values of the columns: whole numbers as they are, the rest as text."""
    found: list[Any] = []
    for name in layout.columns:
        value = row.value(name)
        is_whole = is_number(value) and isinstance(value, int)
        found.append(value if is_whole else shown(value))
    return found
