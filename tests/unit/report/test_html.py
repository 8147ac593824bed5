"""The page is one file, asks nothing of a network, and shows every label as text; tests/integration
opens it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.outcome import Outcome
from orchestrator.report import render
from orchestrator.report.page.data import MAX_VALUES_PER_ROW, embedded
from orchestrator.report.page.phases import harness_line, phase_shares
from orchestrator.report.page.template import commands
from orchestrator.results.results import Results
from tests.support import made

ONE = {"batch": [1], "seq_len": [1024], "heads": [8]}
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def data_of(page: str) -> dict:
    """What the page's script will read."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    )


def test_the_verdict_needs_no_script(mixed: Results) -> None:
    """Who is wrong, who does not fit and who is fastest stand in the HTML itself."""
    page = render(mixed, "html")
    visible = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "multihead_standard in 1 of 4" in visible
    assert "improved in 3 of 4 shapes" in visible


def test_a_figure_that_no_row_has_is_not_shown_and_commands_are_set_apart() -> None:
    """A column that is N/A in every row says nothing."""
    planned = made.trials(["standard", "improved"], ONE)
    records = []
    for trial in planned:
        record = made.ok(trial, flags=("contended",))
        metrics = {**record.metrics, "tflops_per_s": None}
        records.append(record.model_copy(update={"metrics": metrics}))
    page = render(made.results(planned, records), "html")
    shown = {metric["name"] for metric in data_of(page)["metrics"]}
    assert "tflops_per_s" not in shown
    assert "latency_ms" in shown
    assert "<code>orchestrator doctor</code>" in page


def test_only_the_pages_own_scripts_may_run(mixed: Results) -> None:
    """The policy lists the hash of each script, allows no request, and every script is listed."""
    page = render(mixed, "html")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    ]
    assert policy.startswith("default-src 'none'; ")
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert len(digests) == 6


def test_nothing_is_fetched_from_anywhere(mixed: Results) -> None:
    """No element loads anything: no link, image, frame or script with an address."""
    page = render(mixed, "html")
    assert not re.findall(r"<(?:link|img|iframe|script|object|embed)[^>]*(?:src|href)=", page)
    assert "@import" not in page
    assert not re.search(r"url\(", re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1])


def test_hostile_labels_and_errors_stay_text() -> None:
    """Markup in a label, a param, an error or the sweep's description opens no element."""
    trial = made.trials(["standard"], ONE, pattern=EVIL)[0].model_copy(
        update={"implementation": EVIL}
    )
    records = [made.bad(trial, Outcome.FAILED, "ValueError", EVIL)]
    page = render(
        made.results([trial], records, axes=ONE, implementations=("standard",), description=EVIL),
        "html",
    )
    assert EVIL not in page
    assert "<img" not in page
    assert page.count("<script") == 7
    assert data_of(page)["implementations"] == [EVIL]


@given(
    st.recursive(
        st.text() | st.none() | st.integers(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    )
)
def test_embedded_data_reads_back_and_cannot_end_its_element(value: object) -> None:
    """Whatever the text, there is no angle bracket in it, and JSON gives it back."""
    text = embedded(value)
    assert "<" not in text
    assert json.loads(text) == value


def test_repetitions_are_thinned_and_say_so() -> None:
    """A row of 5,000 repetitions takes the room of 1,000; each kept value is one that was measured."""
    trial = made.trials(["standard"], ONE)[0]
    values = tuple(1 + 0.0001 * number for number in range(5000))
    record = made.ok(trial).model_copy(update={"values_ms": values})
    shown = data_of(render(made.results([trial], [record], axes=ONE), "html"))["repetitions"][0]
    assert shown["step"] == 5
    assert len(shown["rounds"][0]) == MAX_VALUES_PER_ROW
    assert set(shown["rounds"][0]) <= {float(f"{value:.5g}") for value in values}


def test_the_answer_comes_first_and_the_rows_last(mixed: Results) -> None:
    """Verdict, map, implementations, curves, roofline, rows: in the order in which they are asked
    for.
    """
    page = render(mixed, "html")
    names = [
        "verdict-title",
        "map-title",
        "standings-title",
        "charts-title",
        "roofline-title",
        "rows-title",
    ]
    assert re.findall(r'<h2 id="([a-z]+-title)"', page)[: len(names)] == names


def test_an_axis_with_one_value_stands_in_the_heading(mixed: Results) -> None:
    """Heads are 8 in every row: a fact of the sweep, and no column."""
    head = render(mixed, "html").partition("<main>")[0]
    assert "<span>Heads: 8</span>" in head
    assert "Seq Len" not in head


def test_a_row_has_its_percentiles_from_every_repetition() -> None:
    """Of 1, 2, ... 101 the 5th, 50th and 95th are 6, 51 and 96, over all rounds together."""
    trial = made.trials(["standard"], ONE)[0]
    rounds = (tuple(map(float, range(1, 51))), tuple(map(float, range(51, 102))))
    records = [
        made.ok(trial, round=number).model_copy(update={"values_ms": values})
        for number, values in enumerate(rounds, start=1)
    ]
    details = data_of(render(made.results([trial], records, axes=ONE), "html"))["details"]
    assert details[0]["percentiles"] == [1.0, 6.0, 51.0, 96.0]


def test_the_peaks_are_the_highest_that_were_measured() -> None:
    """Of two slots the faster one; no peaks, no roofline."""
    trial = made.trials(["standard"], ONE)[0]
    plain = made.results([trial], [made.ok(trial)], axes=ONE)
    assert data_of(render(plain, "html"))["peaks"] is None
    seen = tuple(
        made.peaks(float32=flops, copy=copy) for flops, copy in ((50e12, 3e12), (52e12, 2.9e12))
    )
    data = data_of(render(replace(plain, observations=seen), "html"))
    assert data["peaks"] == {"matmul": {"float32": 52.0}, "copy": 3000.0}


def test_where_the_time_went_is_a_bar_of_all_attempts() -> None:
    """Phases summed over retries too; a journal without them has no such section."""
    trial = made.trials(["standard"], ONE)[0]
    records = [made.ok(trial, attempt=1), made.ok(trial, attempt=2)]
    assert "phases-title" not in render(made.results([trial], records, axes=ONE), "html")
    assert phase_shares(records) == []
    timed = [
        SimpleNamespace(phase_s={"build": 1.0, "measure": 3.0}),
        SimpleNamespace(phase_s={"measure": 4.0}),
    ]
    assert [(found.name, found.seconds, found.percent) for found in phase_shares(timed)] == [
        ("build", 1.0, "12 %"),
        ("measure", 7.0, "88 %"),
    ]


def test_a_harness_that_took_most_of_the_time_is_said() -> None:
    """Above one half, with the largest part first; below it nothing is said."""
    trial = made.trials(["standard"], ONE)[0]
    slow = made.ok(trial).model_copy(
        update={"phase_s": {"start": 1.0, "measure": 2.0, "verify": 3.0}}
    )
    said = harness_line([slow])
    assert said is not None
    assert said.startswith("the harness took 67 % of the attempts' time (verify 50 %, start 17 %)")
    assert said in render(made.results([trial], [slow], axes=ONE), "txt")
    fast = made.ok(trial).model_copy(update={"phase_s": {"start": 1.0, "measure": 2.0}})
    assert harness_line([fast]) is None


def test_the_sweep_file_is_shown_as_it_was_written(mixed: Results, tmp_path: Path) -> None:
    """Comments included, markup escaped."""
    (tmp_path / "sweep.yaml").write_text("name: full  # <why>\n")
    page = render(Results(mixed.meta, mixed.records, mixed.environments, tmp_path), "html")
    assert "name: full  # &lt;why&gt;" in page


@pytest.mark.parametrize("count", [0, 1])
def test_a_sweep_that_barely_ran_has_a_page(count: int) -> None:
    """No record, or one that failed: the page says so instead of failing."""
    trial = made.trials(["standard"], ONE)[0]
    records = [made.bad(trial, Outcome.CRASHED)][:count]
    page = render(made.results([trial], records, axes=ONE), "html")
    assert data_of(page)["outcome"] == (["crashed"] if count else ["not run"])


def test_a_sentence_with_markup_stays_text_beside_its_commands() -> None:
    """A label may hold anything, a single backtick too."""
    assert commands("`a <b>` of <i>") == "<code>a &lt;b&gt;</code> of &lt;i&gt;"
    assert commands("one ` alone") == "one ` alone"
