"""What runs contain, and the mirror that keeps a tracker from slowing a sweep."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.outcome import Outcome
from orchestrator.results.results import Results
from orchestrator.results.rows import Row, rows
from orchestrator.trackers import address, content, curves, saved_view
from orchestrator.trackers.background import BackgroundTracker
from orchestrator.trackers.base import RejectedError, Status, Tracker, TrackingError
from orchestrator.trackers.content import Frame
from orchestrator.trackers.description import description
from orchestrator.trackers.in_memory import MemoryTracker
from orchestrator.trackers.run_content import MAX_PARAM, MAX_TAG, Known, RunContent, finite
from orchestrator.trackers.ui import command
from tests.support import made
from tests.support.driven import Driven
from tests.unit.report.test_answer_table import frontier, search

ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-. /:")


def sweep(**spec: object) -> Results:
    """Eight trials, one of them out of memory, one noisy."""
    planned = made.trials(
        ["standard", "improved"], made.AXES, dtype="float32", segment_lengths=[256, 1024]
    )
    records = [
        made.ok(trial, flags=("noisy",) if place == 3 else ())
        for place, trial in enumerate(planned)
    ]
    records[5] = made.bad(
        planned[5], Outcome.OOM, "OutOfMemoryError", "tried to allocate 4.4 GiB\nof 8 GiB"
    )
    return made.results(planned, records, **spec)


def child(place: int, **spec: object) -> RunContent:
    results = sweep(**spec)
    return content.child(
        Frame.of(results.meta), rows(results.meta, results.records)[place], results.environments
    )


def described(results: Results) -> str:
    return description(
        results.meta, Frame.of(results.meta).axes, rows(results.meta, results.records)
    )


# --- what a run contains


def test_a_run_is_named_by_its_label_and_its_point() -> None:
    """The workload's columns, each by its initials."""
    assert child(0).name == "standard b1 sl1024 h8"


def test_axes_whose_initials_are_the_same_are_named_in_full() -> None:
    """`b` could be batch or block."""
    axes = {**made.AXES, "block": [1, 2], "dtype": ["float16", "float32"]}
    planned = made.trials(["standard"], axes)
    results = made.results(planned, [made.ok(planned[0])], axes=axes)
    run = content.child(Frame.of(results.meta), rows(results.meta, results.records)[0], {})
    assert run.name == "standard batch=1 seq_len=1024 heads=8 block=1 float16"


def test_params_are_the_trials_params_and_its_implementation() -> None:
    """Texts as they are, the rest as JSON, so that the UI can compare runs by them."""
    params = child(0).params
    assert params["implementation"] == "standard"
    assert (params["batch"], params["dtype"], params["segment_lengths"]) == (
        "1",
        "float32",
        "[256, 1024]",
    )


def test_a_param_too_long_for_a_server_is_cut_and_says_so() -> None:
    """Servers cut at 6,000 characters in silence."""
    planned = made.trials(
        ["standard"], {"batch": [1], "seq_len": [1024], "heads": [8]}, lengths=list(range(5000))
    )
    results = made.results(planned, [made.ok(planned[0])])
    text = content.child(Frame.of(results.meta), rows(results.meta, results.records)[0], {}).params[
        "lengths"
    ]
    assert len(text) == MAX_PARAM
    assert text.endswith("[28890 characters; whole in the sweep's files]")


def test_tags_say_how_the_trial_ended_and_where_it_ran() -> None:
    """Those that the UI's search is used with."""
    tags = child(3).tags
    assert (tags["kind"], tags["sweep_id"], tags["implementation"]) == (
        "trial",
        made.SWEEP_ID,
        "standard",
    )
    assert (tags["outcome"], tags["flags"], tags["row"]) == ("ok", "noisy", "4")
    assert (tags["device"], tags["device_model"], tags["torch"]) == (
        "cuda:0",
        "NVIDIA H100 80GB HBM3",
        "2.11.0",
    )
    assert child(3).status == "FINISHED"


def test_a_row_that_is_not_ok_is_a_failed_run_with_the_reason() -> None:
    """No metrics, the message in a tag and in the description."""
    run = child(5)
    assert (run.status, dict(run.metrics)) == ("FAILED", {})
    assert run.tags["error"] == "OutOfMemoryError: tried to allocate 4.4 GiB of 8 GiB"
    assert "of 8 GiB" in run.tags[content.NOTE]


def test_an_outcome_that_the_sweep_allows_is_no_failed_run() -> None:
    """As for the exit code."""
    assert child(5, allow_outcomes=("oom",)).status == "FINISHED"


def test_a_run_lasts_as_long_as_its_rounds_without_what_lies_between() -> None:
    """Two rounds of a minute, nine minutes apart: the trial took two."""
    trial = made.trials(["standard"], {"batch": [1], "seq_len": [1024], "heads": [8]})[0]
    first = made.ok(
        trial, started_at="2026-11-22T09:30:00+00:00", finished_at="2026-11-22T09:31:00+00:00"
    )
    second = made.ok(
        trial,
        round=2,
        started_at="2026-11-22T09:40:00+00:00",
        finished_at="2026-11-22T09:41:00+00:00",
    )
    results = made.results([trial], [first, second])
    run = content.child(Frame.of(results.meta), rows(results.meta, results.records)[0], {})
    assert run.end_ms - run.start_ms == 2 * 60 * 1000
    assert run.tags["rounds"] == "2"


def test_a_repeat_is_another_run_for_a_start_is_written_once() -> None:
    """Else the run would last from the first attempt to the end of the repeat."""
    held = Known("id", RunContent("n", "FINISHED", 1_000, 2_000, {}, {"latency_ms": 1.0}, {}))
    assert held.can_become(replace(held.content, metrics={"latency_ms": 2.0, "speedup": 1.0}))
    assert not held.can_become(replace(held.content, start_ms=9_000, end_ms=10_000))


def test_metrics_have_five_digits() -> None:
    """More fill the UI's cells; the journal has them all."""
    assert finite(
        {"latency_ms": 26.534672612, "relative_error": 0.00079034012, "tokens": 1234567.0}
    ) == {
        "latency_ms": 26.535,
        "relative_error": 0.00079034,
        "tokens": 1234600.0,
    }


def test_speed_ups_are_over_the_first_that_does_the_same_work() -> None:
    """At the same point; who does other work is compared with its own kind, and a row without a
    time has none.
    """
    axes = {"batch": [1], "seq_len": [1024], "heads": [8]}
    planned = made.trials(["standard", "improved", "projecting", "projecting_fast", "broken"], axes)
    more = [
        {"tflops_per_s": 10.0 / scale * work} for scale, work in ((1, 1), (0.5, 1), (2, 3), (1, 3))
    ]
    records = []
    for trial, scale, rate in zip(planned, (1.0, 0.5, 2.0, 1.0), more, strict=False):
        metrics = {"latency_ms": scale, **rate}
        records.append(made.ok(trial).model_copy(update={"metrics": metrics}))
    results = made.results(planned, [*records, made.bad(planned[4], Outcome.FAILED)], axes=axes)
    ratios = content.speedups(Frame.of(results.meta), rows(results.meta, results.records))
    assert [ratios.get(trial.trial_id) for trial in planned] == [1.0, 2.0, 1.0, 2.0, None]


@given(st.dictionaries(st.text(max_size=20), st.none() | st.floats()))
def test_no_server_is_sent_a_value_or_name_that_it_refuses(
    metrics: dict[str, float | None],
) -> None:
    """Neither NaN nor infinity, and names of the characters that are allowed."""
    sent = finite(metrics)
    assert all(math.isfinite(value) for value in sent.values())
    assert all(name and set(name) <= ALLOWED and not name.startswith("/") for name in sent)


def test_the_sweeps_run_counts_every_outcome_and_shows_the_table() -> None:
    """Zeros too: a metric once written stays."""
    results = sweep()
    run = content.summary(
        "FINISHED", results, Frame.of(results.meta), rows(results.meta, results.records)
    )
    assert (run.metrics["trials"], run.metrics["trials_ok"], run.metrics["trials_oom"]) == (8, 7, 1)
    assert (run.metrics["trials_lost"], run.metrics["trials_flagged"]) == (0, 1)
    assert "|improved|2|1024|8|0.8|32|2560000|✓|" in run.tags[content.NOTE]
    assert "|improved|1|2048|8|N/A|N/A|N/A|✗ oom|" in run.tags[content.NOTE]


@pytest.mark.parametrize(
    ("asked", "lines", "primary"),
    [
        (
            frontier,
            [
                "|Implementation|Heads|max_seq_len|Just beyond|",
                "|standard|4|2048|2304: oom|",
                "|improved|4|4096|N/A|",
            ],
            "max_seq_len",
        ),
        (
            search,
            ["|Implementation|Seq Len|best_latency_ms|options.block|", "|improved|128|1|64|"],
            "latency_ms",
        ),
    ],
)
def test_what_a_question_found_stands_above_the_table(
    asked: Callable[[], Driven], lines: list[str], primary: str
) -> None:
    """In the description of the sweep's run; the experiment opens on what was asked for."""
    results = asked().results()
    text = described(results).splitlines()
    for line in lines:
        assert line in text, text
    assert text.index(lines[0]) < next(
        at for at, line in enumerate(text) if line.endswith("|Status|")
    )
    assert content.experiment_tags(results.meta)[content.PRIMARY] == primary


def test_a_table_too_long_for_a_tag_keeps_whole_rows_and_says_how_many_are_left() -> None:
    """The description of 1,000 trials."""
    axes = {"batch": list(range(1, 501)), "seq_len": [1024], "heads": [8, 16]}
    planned = made.trials(["standard"], axes)
    results = made.results(planned, [made.ok(trial) for trial in planned], axes=axes)
    text = described(results)
    shown = sum(line.startswith("|standard|") for line in text.splitlines())
    assert len(text) <= MAX_TAG
    assert text.endswith(f"and {1000 - shown} more rows, in summary.txt of the artifacts")


def test_labels_cannot_break_the_table_of_the_description() -> None:
    """A label is any printable text."""
    planned = made.trials(["a|b <script>"], {"batch": [1], "seq_len": [1024], "heads": [8]})
    results = made.results(planned, [made.ok(planned[0])])
    assert r"|a\|b \<script\>|" in described(results)


def test_the_saved_view_shows_the_sweeps_trials_in_the_order_of_the_table() -> None:
    """As the UI reads it: a name, and the state as JSON in JSON."""
    key, value = saved_view.saved_view(sweep().meta, ["batch", "seq_len", "heads"])
    state = json.loads(json.loads(value)["state"])
    assert key == f"mlflow.sharedViewState.{made.SWEEP_ID}"
    assert state["searchFilter"] == f"tags.sweep_id = '{made.SWEEP_ID}' and tags.kind != 'sweep'"
    first = [
        "metrics.`latency_ms`",
        "tags.`outcome`",
        "tags.`flags`",
        "metrics.`peak_memory_mib`",
        "metrics.`speedup`",
    ]
    assert [name for name in state["columnOrder"] if name in state["selectedColumns"]][
        : len(first)
    ] == first
    assert "params.`heads`" not in state["selectedColumns"]  # 8 in every trial
    lines = [chart for chart in state["compareRunCharts"] if chart["type"] == "LINE"]
    assert {chart["selectedXAxisMetricKey"] for chart in lines} == {"seq_len"}
    assert [chart["metricKey"] for chart in lines[:2]] == [
        "latency_ms batch:1",
        "latency_ms batch:2",
    ]


def test_a_view_that_would_be_too_long_for_a_server_has_fewer_charts() -> None:
    """The first ones: latency along the widest axis."""
    long = "a_name_of_an_axis_that_says_what_it_is_of_in_full"
    axes = {f"{long}_{letter}": [1, 2] for letter in "abc"} | {"seq_len": [64, 128, 256]}
    planned = made.trials(["standard", "improved"], axes)
    meta = made.results(planned, [], axes=axes).meta
    _, value = saved_view.saved_view(meta, list(axes))
    assert len(value) <= saved_view.LONGEST
    state = json.loads(json.loads(value)["state"])
    charts = state["compareRunCharts"]
    assert 0 < len(charts) < len(curves.CHARTED) * curves.MAX_PANELS
    assert {chart["selectedXAxisMetricKey"] for chart in charts} == {"seq_len"}
    assert charts[0]["metricKey"].startswith("latency_ms")


def drawn(results: Results) -> list[curves.Curve]:
    """The runs of the implementations of a sweep."""
    frame, found = Frame.of(results.meta), rows(results.meta, results.records)
    return list(curves.curves(frame, found, content.speedups(frame, found)))


def test_each_implementation_has_one_run_with_its_curves_and_its_totals() -> None:
    """A chart of MLflow has one entry per run in its legend; a row without a time is no point."""
    standard, improved = drawn(sweep())
    assert (standard.content.name, improved.content.name) == ("standard", "improved")
    tags = improved.content.tags
    assert (tags["outcome"], tags["kind"]) == ("3 of 4 ok", "implementation")
    assert standard.content.tags["flags"] == "1 flagged"
    times = [point for point in standard.points if point[0] == "latency_ms batch:2"]
    assert [step for _, _, step in times] == [0, 1]
    assert ("seq_len", 1024.0, 0) in standard.points
    wrong = [point for point in improved.points if point[0].startswith("latency_ms")]
    assert len(wrong) == 3
    trial_metrics = child(0).metrics
    assert not {name for name, _, _ in standard.points} & set(trial_metrics)


def test_an_implementation_whose_every_row_ended_as_the_sweep_allows_is_no_failed_run() -> None:
    """Its outcome says how many are ok all the same."""
    allowed: tuple[str, ...]
    for allowed, status in ((), "FAILED"), (("oom",), "FINISHED"):
        standard, improved = (curve.content for curve in drawn(sweep(allow_outcomes=allowed)))
        assert standard.status == "FINISHED"
        assert improved.status == status
        assert improved.tags["outcome"] == "3 of 4 ok"


def test_a_disturbed_row_has_no_part_in_a_mean_speed_up() -> None:
    """Something else slowed it down."""
    planned = made.trials(["standard", "improved"], {"batch": [1], "seq_len": [1, 2], "heads": [8]})
    records = [made.ok(trial) for trial in planned[:3]]
    records.append(made.ok(planned[3], flags=("contended",), scale=0.1))
    _, improved = drawn(made.results(planned, records))
    assert improved.content.metrics["speedup"] == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        ({"seq_len": [1024, 2048]}, ["latency_ms by seq_len"]),
        (
            {"dtype": ["float16", "float32"]},
            ["latency_ms dtype:float16", "latency_ms dtype:float32"],
        ),
        ({"batch": [1]}, []),
    ],
)
def test_what_a_figure_is_called_by_the_axes_that_vary(
    axes: dict[str, list[object]], named: list[str]
) -> None:
    """Never as a trial's metric is called: a chart of it would draw the trials, too."""
    axes = {"batch": [1], "seq_len": [1024], "heads": [8], **axes}
    planned = made.trials(["standard"], axes)
    results = made.results(planned, [made.ok(planned[0])], axes=axes)
    found = curves.panels(results.meta, list(Frame.of(results.meta).axes))
    assert [panel.metric("latency_ms") for panel in found] == named


def test_a_view_of_every_sweep_shows_trials_over_time() -> None:
    """Along a param that every trial has, and without rows that are links."""
    key, value = saved_view.view_over_time()
    state = json.loads(json.loads(value)["state"])
    assert key == f"{saved_view.PREFIX}over_time"
    assert "tags.kind = 'trial'" in state["searchFilter"]
    axes = {chart["xaxis"]["key"] for chart in state["compareRunCharts"]}
    assert axes == {content.STARTED_AT}
    assert child(0).params[content.STARTED_AT] == "2026-11-22 09:30:00"
    assert saved_view.outdated([key], "20261122_093000_a1b2") == []


def test_a_reused_row_is_a_link_without_figures() -> None:
    """Charts over sweeps count a measurement once."""
    results = sweep()
    row = rows(results.meta, results.records)[0]
    records = tuple(
        record.model_copy(update={"reused_from": "20261101_000000_aaaa"}) for record in row.records
    )
    reused = replace(row, records=records)
    found = content.link(Frame.of(results.meta), reused, "#/experiments/1/runs/abc")
    assert (found.metrics, found.tags["kind"]) == ({}, "link")
    assert found.tags["reused_from"] == "20261101_000000_aaaa"
    assert "(#/experiments/1/runs/abc)" in found.tags["mlflow.note.content"]
    assert found.params["implementation"] == "standard"


def test_only_the_oldest_of_our_own_views_are_dropped() -> None:
    """People's own views are theirs."""
    ours = [f"{saved_view.PREFIX}202611{day:02d}_093000_a1b2" for day in range(1, 31)]
    theirs = [f"{saved_view.PREFIX}5f0c-my-view", "mlflow.note.content"]
    assert saved_view.outdated([*ours, *theirs], "20261201_093000_a1b2") == ours[:11]


def test_the_default_store_is_under_mlruns_of_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absolute: MLflow resolves nothing else reliably."""
    monkeypatch.chdir(tmp_path)
    assert address.default_uri() == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert address.database_of(address.default_uri()) == tmp_path / "mlruns" / "mlflow.db"
    assert address.ui_command(address.default_uri()) == "orchestrator ui"
    Path("Makefile").touch()  # of the user's own project
    assert address.ui_command(address.default_uri()) == "orchestrator ui"
    assert address.ui_command("http://127.0.0.1:5000") is None


def test_no_password_is_shown() -> None:
    """A tracking URI may carry one."""
    assert address.redacted("https://me:secret@host/mlflow") == "https://host/mlflow"
    assert "secret" not in address.view_url("https://me:secret@host/mlflow", "1", "x")


def test_an_address_that_was_kept_without_its_log_in_must_be_given_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the variable that MLflow knows; an address without a secret is kept as it is."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(
        TrackingError,
        match=r"postgresql://\*\*\*@db/runs was kept without its log-in: give it whole",
    ):
        address.with_login("postgresql://***@db/runs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@db/runs")
    assert address.with_login("postgresql://***@db/runs") == "postgresql://me:secret@db/runs"
    assert address.with_login("http://host:5000") == "http://host:5000"
    assert address.with_login(None) == address.default_uri()


def test_the_ui_listens_on_the_loopback_unless_told_otherwise() -> None:
    """A server that we start."""
    line = command("sqlite:////tmp/mlruns/mlflow.db")
    assert not any("sqlite" in word for word in line), (
        "an address may have a password, and anyone reads a command line"
    )
    assert line[line.index("--host") + 1] == "127.0.0.1"
    assert line[line.index("--artifacts-destination") + 1] == "/tmp/mlruns/artifacts"


# --- the mirror


@pytest.fixture
def notes() -> list[str]:
    """What mirrors said."""
    return []


@pytest.fixture
def mirrored(notes: list[str]) -> Iterator[Callable[[Tracker], BackgroundTracker]]:
    """Makes mirrors with short waits, and ends their threads."""
    mirrors: list[BackgroundTracker] = []

    def make(tracker: Tracker) -> BackgroundTracker:
        mirrors.append(
            BackgroundTracker(lambda: tracker, notes.append, first_wait_s=0.01, longest_wait_s=0.05)
        )
        return mirrors[-1]

    yield make
    for mirror in mirrors:
        mirror.close()


def run(mirror: BackgroundTracker, results: Results, status: Status = "FINISHED") -> list[Row]:
    """A whole sweep, as the runner tells of it."""
    found = rows(results.meta, results.records)
    mirror.start(results.meta)
    for row in found:
        mirror.log(row)
    mirror.finish(status, results)
    return found


def test_a_mirror_passes_everything_on(
    mirrored: Callable[[Tracker], BackgroundTracker], notes: list[str]
) -> None:
    """The plain case: complete, and nothing said."""
    tracker = MemoryTracker()
    mirror = mirrored(tracker)
    found = run(mirror, sweep())
    assert mirror.flush(10)
    assert list(tracker.rows.values()) == found
    assert (tracker.status, tracker.calls[0], tracker.calls[-1], notes) == (
        "FINISHED",
        "start",
        "finish",
        [],
    )


def test_a_slow_tracker_takes_no_time_of_the_sweep(
    mirrored: Callable[[Tracker], BackgroundTracker],
) -> None:
    """Each call takes 5 s; the whole sweep is told in a moment, and the end is bounded."""
    release = threading.Event()
    mirror = mirrored(MemoryTracker(lambda _: release.wait(5) and None))
    begun = time.monotonic()
    run(mirror, sweep())
    assert time.monotonic() - begun < 0.5
    assert not mirror.flush(0.2)
    assert time.monotonic() - begun < 1.5
    release.set()


@pytest.mark.slow
def test_what_cannot_be_done_in_time_is_not_waited_for(
    mirrored: Callable[[Tracker], BackgroundTracker], notes: list[str]
) -> None:
    """At its pace so far the tracker would need longer than it is given: `sync` is told of at once."""
    taken = threading.Semaphore(0)

    def slowly(_: str) -> None:
        time.sleep(0.1)
        taken.release()

    mirror = mirrored(MemoryTracker(slowly))
    run(mirror, sweep())
    for _ in range(2):
        assert taken.acquire(timeout=10)
    assert not mirror.flush(0.15)
    assert "orchestrator sync" in notes[0]
    assert mirror.flush(30), "where there is time, it is done"


def test_a_call_that_does_not_return_is_given_up_on(
    mirrored: Callable[[Tracker], BackgroundTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much time there would be."""
    monkeypatch.setattr("orchestrator.trackers.background.STALLED_S", 0.1)
    release = threading.Event()
    mirror = mirrored(MemoryTracker(lambda _: release.wait(30) and None))
    run(mirror, sweep())
    begun = time.monotonic()
    assert not mirror.flush(20)
    assert time.monotonic() - begun < 10
    release.set()


def test_whoever_interrupts_waits_for_less(
    mirrored: Callable[[Tracker], BackgroundTracker],
) -> None:
    """From the moment that somebody waits for the end, the shorter limit counts."""
    release = threading.Event()
    mirror = mirrored(MemoryTracker(lambda _: release.wait(30) and None))
    run(mirror, sweep())
    begun = time.monotonic()
    assert not mirror.flush(60, 0.3, lambda: time.monotonic() - begun > 0.1)
    assert time.monotonic() - begun < 10
    release.set()


def test_a_tracker_that_is_down_is_said_once_with_what_mends_it(
    mirrored: Callable[[Tracker], BackgroundTracker], notes: list[str]
) -> None:
    """Down for the whole sweep: the flush gives up early."""

    def down(_: str) -> None:
        raise TrackingError("connection refused")

    mirror = mirrored(MemoryTracker(down))
    run(mirror, sweep())
    begun = time.monotonic()
    assert not mirror.flush(60)
    assert time.monotonic() - begun < 5
    assert len(notes) == 1
    assert "connection refused" in notes[0]
    assert f"orchestrator sync {made.SWEEP_ID}" in notes[0]


def test_a_tracker_that_comes_back_gets_all(
    mirrored: Callable[[Tracker], BackgroundTracker], notes: list[str]
) -> None:
    """Down at the start and again in the middle; no row is lost, none comes twice."""
    calls = 0

    def shaky(_: str) -> None:
        nonlocal calls
        calls += 1
        if calls < 4 or 8 <= calls < 10:
            raise OSError("down")

    tracker = MemoryTracker(shaky)
    mirror = mirrored(tracker)
    found = run(mirror, sweep())
    assert mirror.flush(20)
    assert tracker.calls == ["start", *["log"] * len(found), "finish"]
    assert set(tracker.rows) == {row.trial_id for row in found}
    assert len(notes) == 1


def test_a_mirror_behind_keeps_the_latest_row_of_a_trial(
    mirrored: Callable[[Tracker], BackgroundTracker],
) -> None:
    """Three rounds of one trial while the tracker is starting are one call."""
    trial = made.trials(["standard"], {"batch": [1], "seq_len": [1024], "heads": [8]})[0]
    records = [made.ok(trial, round=number) for number in (1, 2, 3)]
    results = made.results([trial], records)
    started = threading.Event()
    tracker = MemoryTracker(lambda call: started.wait(10) and None)
    mirror = mirrored(tracker)
    mirror.start(results.meta)
    for count in (1, 2, 3):
        mirror.log(made.results([trial], records[:count]).rows[0])
    started.set()
    assert mirror.flush(10)
    assert tracker.calls == ["start", "log"]
    assert len(tracker.rows[trial.trial_id].records) == 3


def test_a_row_that_is_refused_does_not_hold_up_the_rest(
    mirrored: Callable[[Tracker], BackgroundTracker], notes: list[str]
) -> None:
    """Trying it again is no use; the sweep's runs are not complete, and that is said."""
    logged = 0

    def picky(call: str) -> None:
        nonlocal logged
        logged += call == "log"
        if call == "log" and logged == 2:
            raise RejectedError("bad value")

    tracker = MemoryTracker(picky)
    mirror = mirrored(tracker)
    results = sweep()
    mirror.start(results.meta)
    for row in rows(results.meta, results.records):
        mirror.log(row)
    assert not mirror.flush(10)
    assert len(tracker.rows) == len(results.meta.planned) - 1
    assert "bad value" in notes[0]


def test_a_tracker_that_cannot_be_made_is_made_later(notes: list[str]) -> None:
    """The library may be missing, the server may not be up yet."""
    tracker, tries = MemoryTracker(), []

    def make() -> Tracker:
        tries.append(1)
        if len(tries) < 3:
            raise ImportError("no module named mlflow")
        return tracker

    mirror = BackgroundTracker(make, notes.append, target="some/dir", first_wait_s=0.01)
    run(mirror, sweep())
    assert mirror.flush(10)
    mirror.close()
    assert tracker.closed
    assert "sync some/dir" in notes[0]


def test_a_mirror_that_was_never_started_has_nothing_to_wait_for(notes: list[str]) -> None:
    """A sweep may end before it began."""
    mirror = BackgroundTracker(MemoryTracker, notes.append)
    assert mirror.flush(10)
    mirror.close()
    assert notes == []


@pytest.mark.slow
def test_a_mirror_has_no_part_in_the_cpu_time_while_it_waits(
    mirrored: Callable[[Tracker], BackgroundTracker],
) -> None:
    """What is measured runs on the same cores."""
    mirror = mirrored(MemoryTracker())
    mirror.start(sweep().meta)
    assert mirror.ready(10)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1
