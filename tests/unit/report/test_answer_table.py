"""The answers of a search or a frontier: a table of their own in every report."""

from __future__ import annotations

import json

import pytest

from orchestrator.outcome import Outcome
from orchestrator.report import render
from orchestrator.report.json_object import as_object
from orchestrator.trackers import content
from orchestrator.trial import Trial
from tests.support.driven import Driven, End
from tests.support.golden import same_as_golden
from tests.support.sweeps import sweep


def frontier(end: Outcome = Outcome.OOM, stop_after: int = 10**9) -> Driven:
    """Standard fits to 8192 / heads; improved as far as the axis goes."""

    def ends(trial: Trial) -> End:
        size = trial.params["seq_len"] * trial.params["heads"]
        return (
            Outcome.OK if size <= 8192 or trial.implementation == "improved" else end,
            size / 1024,
        )

    axes = "{batch: [1], heads: [4, 16], seq_len: {low: 256, high: 4096, step: 256}}"
    constants = "{segment_lengths: [256], dilation_rates: [1]}"
    return Driven(sweep(axes=axes, constants=constants, frontier="{axis: seq_len}")).drive(
        ends, stop_after=stop_after
    )


def search(how: str = "strategy: random, samples: 5, seed: 3, first: [{}]") -> Driven:
    axes = "{batch: [1], seq_len: [64, 128], heads: [4], options.block: {low: 16, high: 256, step: 16}}"

    def ends(trial: Trial) -> End:
        block = trial.options.get("block", 128)
        return (Outcome.OOM if block > 200 else Outcome.OK, 1 + abs(block - 64) / 64)

    return Driven(sweep(axes=axes, implementations="[improved]", search=f"{{{how}}}")).drive(ends)


@pytest.mark.parametrize("made", [frontier, search])
def test_the_table_stands_in_the_summary(made) -> None:
    """After the rows, before the counts."""
    text = render(made().results(), "txt")
    start = text.index("Largest" if made is frontier else "Best")
    same_as_golden(
        f"answers_of_a_{made.__name__}.txt", text[start : text.index("\n\n", start)] + "\n"
    )


@pytest.mark.parametrize("made", [frontier, search])
def test_every_answer_is_in_markdown_and_on_the_page(made) -> None:
    """Cell for cell what the text says."""
    results = made().results()
    for form in ("md", "html"):
        text = render(results, form)
        for answer in as_object(results)["answers"]:
            assert answer["implementation"] in text
        assert (
            "Largest Seq Len that fits" if made is frontier else "Best latency"
        ) in text.replace("\\", "")


def test_a_grid_has_no_answers() -> None:
    """Its rows are what was asked for."""
    results = Driven(sweep()).drive(lambda _: (Outcome.OK, 1.0)).results()
    assert as_object(results)["answers"] == []
    assert "Largest" not in render(results, "txt")


def test_answers_as_json_name_their_trial_and_what_lies_beyond() -> None:
    """Strict JSON, one object per cell."""
    found = json.loads(json.dumps(as_object(frontier().results())["answers"], allow_nan=False))
    assert [(answer["implementation"], answer["point"]["heads"], answer["value"]) for answer in found] == [
        ("standard", 4, 2048.0), ("standard", 16, 512.0), ("improved", 4, 4096.0), ("improved", 16, 4096.0),
    ]  # fmt: skip
    assert found[0]["beyond"] == {"value": 2304, "outcome": "oom"}
    assert found[2]["beyond"] is None
    assert all(answer["settled"] and answer["metric"] == "max_seq_len" for answer in found)


def test_what_was_interrupted_is_not_settled() -> None:
    """Nor good: there are probes left to make."""
    results = frontier(stop_after=6).results()
    assert "not settled" in render(results, "txt")
    assert not any("max_seq_len" in row.metrics for row in results.rows)
    assert not results.all_ok


def test_expected_limits_are_not_offered_to_be_run_again() -> None:
    """Out of memory is what a frontier looks for; a mismatch is not."""
    assert render(frontier().results(), "txt").count("--rerun failed") == 0
    assert frontier().results().all_ok
    assert not frontier(Outcome.MISMATCH).results().all_ok


def test_the_sweeps_own_run_has_one_metric_per_cell() -> None:
    """Named by what was asked, the implementation and the point."""
    results = frontier().results()
    run = content.summary("FINISHED", results, content.Frame.of(results.meta), results.rows)
    named = {name: value for name, value in run.metrics.items() if name.startswith("max_")}
    assert named == {
        "max_seq_len standard heads:4": 2048.0, "max_seq_len standard heads:16": 512.0,
        "max_seq_len improved heads:4": 4096.0, "max_seq_len improved heads:16": 4096.0,
    }  # fmt: skip


def test_a_metric_that_no_row_has_is_said_to_be_missing() -> None:
    """Every row is ok, and there is no best: the table says why."""
    results = search("strategy: random, samples: 5, metric: energy_mj_per_token").results()
    assert "without energy_mj_per_token" in render(results, "txt")
    assert not results.all_ok


def test_what_is_worked_out_from_the_axis_heads_its_cell_as_it_is_stated() -> None:
    """A cell of a pattern in shares of the sequence is named by the shares, not by what they come
    to at one length.
    """
    axes = '{batch: [1], heads: [4], segment_lengths: [["seq_len // 4"], ["seq_len"]], seq_len: [64, 128, 256]}'
    asked = sweep(axes=axes, constants="{dilation_rates: [1]}", implementations="[standard]",
                  frontier="{axis: seq_len}")  # fmt: skip
    results = Driven(asked).drive(lambda _: (Outcome.OK, 1.0)).results()
    found = as_object(results)["answers"]
    assert [answer["point"]["segment_lengths"] for answer in found] == [
        ["seq_len // 4"],
        ["seq_len"],
    ]
    assert "| seq_len // 4 " in render(results, "txt")
