"""The table of a comparison: what tells its rows apart, and nothing that only follows from that."""

import re

from orchestrator.compare.comparison import compare
from orchestrator.outcome import Outcome
from orchestrator.report.comparing.comparison import markdown_page, table
from orchestrator.report.comparing.comparison_formats import write
from orchestrator.report.page.comparison_page import comparison_page
from tests.support import made

AXES = {"batch": [1], "seq_len": [1024, 2048], "heads": [8]}


def sweep():
    """Two rows; the segments follow from seq_len, as in a sweep whose constants are expressions."""
    planned = [
        trial.model_copy(
            update={"params": {**trial.params, "segment_lengths": [trial.params["seq_len"] // 2]}}
        )
        for trial in made.trials(["standard"], AXES, dtype="float32")
    ]
    return made.results(planned, [made.ok(trial) for trial in planned], axes=AXES)


def header(text, rule):
    """The cells of the first line that starts as a row does, less what surrounds them."""
    line = next(line for line in text.splitlines() if line.startswith(rule))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_only_axes_that_vary_get_a_column():
    """Batch and heads say nothing here, and a derived constant repeats what its axis says."""
    found = compare(sweep(), sweep())
    expected = [
        "Implementation",
        "Seq Len",
        "Base (ms)",
        "Candidate (ms)",
        "Ratio [95 % interval]",
        "Verdict",
        "Note",
    ]
    (line,) = [line for line in table(found).splitlines() if line.startswith("Impl")]
    assert re.split(r" {2,}", line) == expected
    assert header(markdown_page(found), "| Impl") == expected


def test_a_row_says_where_it_stands():
    """The value of each such axis, in the order of the table."""
    rows = [
        line
        for line in table(compare(sweep(), sweep())).splitlines()
        if line.startswith("standard")
    ]
    assert [row.split()[1] for row in rows] == ["1024", "2048"]


def test_the_page_draws_each_interval_and_keeps_labels_as_text(tmp_path):
    """One drawing per row with a ratio, 1 where the scale has it; a label that is markup opens no
    element.
    """
    evil = "<img src=x>"
    planned = [
        trial.model_copy(update={"implementation": evil}) for trial in made.trials(["a"], AXES)
    ]
    base = [made.ok(trial) for trial in planned]
    candidate = [made.ok(planned[0], scale=1.3), made.bad(planned[1], Outcome.OOM)]
    both = [
        made.results(planned, records, axes=AXES, implementations=("a",))
        for records in (base, candidate)
    ]
    write(compare(*both), tmp_path)
    page = (tmp_path / "comparison.html").read_text()
    assert page.count("<svg") == 1
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page
    assert "newly failing" in page
    assert "<script" not in page
    one, *_, at = [float(place) for place in re.findall(r'<line x1="([0-9.]+)"', page)]
    assert 0 < one < 50 < at < 100  # 1.3 times slower lies right of 1, and both are on the scale


def test_a_comparison_that_found_nothing_says_so():
    """No news is no good news, and a busy machine is named as the reason."""
    quiet = compare(sweep(), sweep())
    assert not quiet.settled
    assert "All 2 rows are unclear: this comparison found nothing." in table(quiet)
    planned = made.trials(["standard"], AXES, dtype="float32")
    busy = made.results(
        planned, [made.ok(trial, flags=("contended",)) for trial in planned], axes=AXES
    )
    assert "the machine was busy (2 contended or throttled)" in table(compare(busy, busy))


def test_the_pages_headline_has_the_doubt_of_the_tables():
    """A change that rests on contended rows is not announced as if it were certain."""
    planned = made.trials(["standard"], AXES, dtype="float32")
    slow, fast = (
        made.results(
            planned,
            [made.ok(trial, flags=("contended",), scale=scale) for trial in planned],
            axes=AXES,
        )
        for scale in (1.0, 0.2)
    )
    found = compare(slow, fast)
    said = "faster, doubtful: the machine was busy"
    assert said in table(found)
    assert f'<strong class="warn">{said}</strong>' in comparison_page(found)
