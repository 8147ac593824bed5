"""Why rows are not ok: the type of the exception, each reason once, and what to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.outcome import Outcome
from orchestrator.record import ErrorInfo
from orchestrator.report import reasons
from orchestrator.report.layout import Layout
from orchestrator.results.results import Results
from tests.support import made
from tests.unit.report.conftest import DIRECTORY


@pytest.mark.parametrize(
    ("kind", "message", "said"),
    [
        (
            "RuntimeError",
            "no kernel for you (mine.py:3 in build)",
            "RuntimeError: no kernel for you (mine.py:3 in build)",
        ),
        ("KeyError", "'x'", "KeyError: 'x'"),
        (
            "SystemExit",
            "3 (impls.py:47 in exits_build)",
            "called sys.exit(3) (impls.py:47 in exits_build)",
        ),
        ("SystemExit", "bye", "called sys.exit(bye)"),
        (
            "EOFError",
            "EOF when reading a line",
            "EOFError: EOF when reading a line: it asked for input",
        ),
        (
            "InvalidResult",
            "returned None, expected one tensor",
            "returned None, expected one tensor",
        ),
        ("StopIteration", "", "StopIteration"),
        ("AssertionError", "(mine.py:4 in f)", "AssertionError (mine.py:4 in f)"),
    ],
)
def test_a_failure_names_the_type_of_its_exception(kind: str, message: str, said: str) -> None:
    """`3 (impls.py:47)` says nothing; the harness's own findings need no type."""
    assert reasons.message(ErrorInfo.of(kind, message)).startswith(said)


def test_other_outcomes_say_what_they_are_by_themselves() -> None:
    """`oom: OutOfMemoryError: out of memory` would say it three times."""
    error = ErrorInfo.of("OutOfMemoryError", "CUDA out of memory. Tried to allocate 4.40 GiB")
    assert reasons.message(error, Outcome.OOM) == "CUDA out of memory. Tried to allocate 4.40 GiB"


def failing(directory: Path, count: int = 6) -> Results:
    """One implementation fails at every shape, with a message that names it; another is wrong at
    one.
    """
    axes = {"batch": list(range(1, count + 1)), "seq_len": [128], "heads": [8]}
    planned = made.trials(["raises", "standard"], axes)
    records = [
        made.bad(trial, Outcome.FAILED, "ValueError", f"bad alignment at {64 * place}")
        for place, trial in enumerate(planned[:count])
    ]
    records += [
        made.bad(
            planned[count], Outcome.MISMATCH, "Mismatch", "relative error 5.1e+00, allowed 1e-05"
        )
    ]
    records += [made.ok(trial) for trial in planned[count + 1 :]]
    return made.results(planned, records, axes=axes, directory=directory)


def test_rows_that_failed_alike_are_one_reason(tmp_path: Path) -> None:
    """Six shapes whose messages differ in a number are told in two lines."""
    lines = list(reasons.lines(Layout.of(failing(tmp_path))))
    assert len(lines) == 4
    assert (
        "raises batch=1 seq_len=128 heads=8 and 5 more rows: ValueError: bad alignment at 0"
        in lines[0]
    )


def test_each_reason_ends_with_a_path_that_can_be_clicked_and_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the directory where it was run; a sweep elsewhere is named by its directory."""
    monkeypatch.chdir(tmp_path)
    inside = tmp_path / "mlruns" / "sweeps" / "full" / made.SWEEP_ID
    results = failing(inside)
    trial = results.meta.planned[0].trial_id
    lines = list(reasons.lines(Layout.of(results)))
    assert (
        lines[1].strip()
        == f"mlruns/sweeps/full/{made.SWEEP_ID}/logs/{trial}.log · orchestrator try {trial}"
    )
    elsewhere = list(reasons.lines(Layout.of(failing(Path("/elsewhere/out put")))))
    assert elsewhere[1].strip().startswith(f"/elsewhere/out put/logs/{trial}.log")
    assert elsewhere[1].endswith(f"orchestrator try {trial} --sweep '/elsewhere/out put'")


def test_reasons_beyond_the_limit_are_counted_with_the_command_that_shows_them() -> None:
    """No "and 19 more" without a way to see the 19."""
    axes = {"batch": [1], "seq_len": [128], "heads": [8]}
    names = [f"impl_{chr(97 + place)}" for place in range(14)]
    planned = made.trials(names, axes)
    results = made.results(
        planned,
        [made.bad(trial, Outcome.FAILED) for trial in planned],
        axes=axes,
        directory=DIRECTORY,
    )
    lines = list(reasons.lines(Layout.of(results), 10))
    assert len(lines) == 21
    assert lines[-1].strip() == f"... and 4 more rows: orchestrator report {made.SWEEP_ID} --errors"


def test_in_full_every_row_and_the_whole_message_is_there(tmp_path: Path) -> None:
    """`report --errors` leaves nothing out, and keeps control characters from the terminal."""
    results = failing(tmp_path)
    record = made.bad(
        results.meta.planned[6], Outcome.MISMATCH, "Mismatch", "first line\nsecond\x1b[31m line"
    )
    results = Results(
        results.meta, (*results.records[:6], record, *results.records[7:]), {}, tmp_path
    )
    text = reasons.in_full(Layout.of(results))
    assert text.count("raises") == 1
    assert all(f"batch={batch} " in text for batch in range(1, 7))
    assert r"second\x1b[31m line" in text


def test_nothing_failed_is_said(all_ok: Results) -> None:
    """No empty output."""
    assert reasons.in_full(Layout.of(all_ok)) == "no row failed"


def mismatches(messages: dict[str, list[str]]) -> Layout:
    """A row for each message of each implementation."""
    count = max(map(len, messages.values()))
    axes = {"batch": list(range(1, count + 1)), "seq_len": [128], "heads": [8]}
    planned = made.trials(list(messages), axes)
    records = []
    for trial in planned:
        said = messages[trial.implementation]
        place = trial.params["batch"] - 1
        if place < len(said):
            records.append(made.bad(trial, Outcome.MISMATCH, "Mismatch", said[place]))
        else:
            records.append(made.ok(trial))
    return Layout.of(made.results(planned, records, axes=axes, directory=DIRECTORY))


WRONG = (
    "output{place}: 96 of 512 elements are wrong, relative error 1.0e+00; the error of {what} is "
    "8.5e+03 times what rounding explains (allowed: 14 times)"
)


def test_a_wrong_output_is_one_reason_whatever_part_of_it_is_furthest_out() -> None:
    """At one shape a row is, at another an element, at the third the whole; a changed input is
    another reason.
    """
    said = [
        WRONG.format(place="[127, :]", what="a row"),
        WRONG.format(place="[:, 1..3, 0] (3 of 4 in dimension 1)", what="an element"),
        WRONG.format(place="", what="the whole"),
        "the call changed its input x",
    ]
    lines = list(reasons.lines(mismatches({"mine": said})))
    assert len(lines) == 4
    assert "mine batch=1 seq_len=128 heads=8 and 2 more rows: output[127, :]: 96" in lines[0]


def test_each_implementation_is_heard_before_another_is_twice() -> None:
    """Three different reasons of one do not hide the only one of the next."""
    found = mismatches(
        {"talks": ["it is red", "it is blue", "it is green"], "quiet": ["it is odd"]}
    )
    lines = list(reasons.lines(found, 2))
    assert ["talks" in lines[0], "quiet" in lines[2]] == [True, True]
    assert lines[-1].strip().startswith("... and 2 more rows")
