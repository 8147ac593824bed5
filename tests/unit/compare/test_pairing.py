"""What two rows and their sweeps must share, and what is told of what they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.compare.comparison import compare
from orchestrator.errors import ComparisonError
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import Fingerprint
from orchestrator.report.comparing.comparison import table
from orchestrator.results import sources
from orchestrator.results.results import Results
from tests.support import made

PLANNED = made.trials(["standard"], {"batch": [1], "seq_len": [64, 128]}, dtype="float32")


def sweep(
    directory: Path | None = None,
    source: str = "a" * 16,
    tolerance: float | None = None,
    card: str | None = None,
    **metrics: Any,
) -> Results:
    """Two rows of five rounds, all alike but for what is given."""
    prints = Fingerprint(source=source, environment="e" * 16, protocol="p" * 16)
    records = []
    for trial in PLANNED:
        for number in range(1, 6):
            figures = {"latency_ms": 1.0, **metrics}
            values = (1.0 + 0.001 * number, 1.0, 0.999)
            record = made.record(
                trial, Outcome.OK, phase=Phase.DONE, metrics=figures, values_ms=values, round=number
            )
            records.append(record.model_copy(update={"fingerprint": prints, "card": card}))
    found = made.results(PLANNED, records)
    spec = found.meta.spec.model_copy(
        update={"verify": found.meta.spec.verify.model_copy(update={"tolerance": tolerance})}
    )
    meta = found.meta.model_copy(update={"spec": spec})
    return Results(meta, tuple(records), {"e" * 16: {"match": {}, "know": {}}}, directory)


def test_sweeps_that_were_allowed_unlike_errors_are_not_compared_silently() -> None:
    """A candidate that may be wrong is no faster."""
    with pytest.raises(ComparisonError, match=r"verify.tolerance: None, 0.4"):
        compare(sweep(), sweep(tolerance=0.4))
    forced = compare(sweep(), sweep(tolerance=0.4), force=True)
    assert forced.environment_differences == ("verify.tolerance: None, 0.4",)


def test_two_sweeps_of_the_same_code_are_said_to_be_that() -> None:
    """A workflow that measures one checkout twice finds nothing, ever."""
    found = compare(sweep(), sweep())
    assert found.same_code
    assert found.to_json()["same_code"] is True
    assert "Both sweeps measured the same code" in table(found)
    assert not compare(sweep(), sweep(source="b" * 16)).same_code


def test_what_of_the_code_differs_is_named(tmp_path: Path) -> None:
    """Files and packages, with old and new version."""
    described = {"files": {"mine.py": "1", "same.py": "1"}, "packages": {"numpy": "2.3"}}
    changed = {"files": {"mine.py": "2", "same.py": "1", "k.cu": "1"}, "packages": {"numpy": "2.4"}}
    for name, source, content in (("base", "a" * 16, described), ("candidate", "b" * 16, changed)):
        (tmp_path / name).mkdir()
        sources.write(tmp_path / name, {source: content})
    found = compare(sweep(tmp_path / "base"), sweep(tmp_path / "candidate", source="b" * 16))
    assert found.code_differences == ("k.cu is new", "mine.py changed", "numpy 2.3, now 2.4")
    assert "The code differs: k.cu is new; mine.py changed; numpy 2.3, now 2.4." in table(found)


@pytest.mark.parametrize(
    ("was", "now", "note"),
    [
        ({"relative_error": 3e-8}, {"relative_error": 0.32}, "error 3.0e-08, now 3.2e-01"),
        ({"relative_error": 3e-8}, {"relative_error": 6e-8}, ""),
        ({"peak_memory_mib": 11.0}, {"peak_memory_mib": 62.0}, "memory 11 MiB, now 62"),
        ({"peak_memory_mib": 62.0}, {"peak_memory_mib": 11.0}, "memory 62 MiB, now 11"),
        ({"peak_memory_mib": 62.0}, {"peak_memory_mib": 63.0}, ""),
        ({"card": "GPU-1"}, {"card": "GPU-2"}, "on another card"),
        ({"card": "GPU-1"}, {"card": "GPU-1"}, ""),
        ({}, {"card": "GPU-1"}, ""),
    ],
)
def test_error_memory_and_card_are_told_beside_the_ratio(
    was: dict[str, Any], now: dict[str, Any], note: str
) -> None:
    """Time is not all that a candidate may have paid with."""
    assert {pair.note for pair in compare(sweep(**was), sweep(**now)).rows} == {note}
