"""The table of a comparison: what tells its rows apart, and nothing that only follows from that."""

from orchestrator.compare.comparison import compare
from orchestrator.report.comparison import markdown_page, table
from tests.unit.report import made

AXES = {"batch": [1], "seq_len": [1024, 2048], "heads": [8]}


def sweep():
    """Two rows; the segments follow from seq_len, as in a sweep whose constants are expressions."""
    planned = [
        trial.model_copy(update={"params": {**trial.params, "segment_lengths": [trial.params["seq_len"] // 2]}})
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
    expected = ["Implementation", "Seq Len", "Base (ms)", "Candidate (ms)", "Ratio [95 % interval]", "Verdict", "Note"]
    assert header(table(found), "| Impl") == expected
    assert header(markdown_page(found), "| Impl") == expected


def test_a_row_says_where_it_stands():
    """The value of each such axis, in the order of the table."""
    rows = [line for line in table(compare(sweep(), sweep())).splitlines() if line.startswith("| standard")]
    assert [row.split("|")[2].strip() for row in rows] == ["1024", "2048"]
