"""Sweep files for the tests: one field a line, so that a line number says which field is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import Problem, SweepFileError
from orchestrator.plan.sweep import Sweep

TOYS = Path(__file__).parents[1] / "integration" / "toys"
FIELDS = {
    "name": "tiny",
    "workload": "dilated_attention",
    "implementations": "[standard, improved]",
    "axes": "{batch: [1, 2], seq_len: [64, 128], heads: [4]}",
    "constants": '{segment_lengths: ["seq_len // 4", "seq_len"], dilation_rates: [1, 2]}',
}
LINE = {field: number for number, field in enumerate(FIELDS, start=1)}
NEXT_LINE = len(FIELDS) + 1  # where a field that is not among FIELDS stands


def text(**fields: str | None) -> str:
    """The small sweep with some fields stated otherwise, in YAML, or left out (None)."""
    stated = {**FIELDS, **fields}
    return "".join(f"{name}: {value}\n" for name, value in stated.items() if value is not None)


def sweep(**fields: str | None) -> Sweep:
    """The small sweep, read and expanded."""
    return Sweep.parse(text(**fields))


def toy(*names: str, n: str = "[16]", **fields: str) -> str:
    """A sweep of the toy matmul, by the named implementations of it."""
    entries = ", ".join(f"{{use: '{TOYS}/matmul.py:{name}', label: {name}}}" for name in names)
    workload = f"{TOYS}/matmul.py:WORKLOAD"
    return text(
        workload=workload,
        implementations=f"[{entries}]",
        axes=f"{{n: {n}}}",
        constants=None,
        **fields,
    )


def problems(source: str) -> list[Problem]:
    """What is wrong with a sweep file; fails the test if nothing is."""
    with pytest.raises(SweepFileError, match=r"^sweep\.yaml") as caught:
        Sweep.parse(source, name="sweep.yaml")
    return caught.value.problems


def problem(source: str) -> Problem:
    """The only thing that is wrong with a sweep file."""
    (only,) = problems(source)
    return only
