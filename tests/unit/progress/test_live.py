"""Progress counts what happened, foretells from what was measured, and leaves the terminal as it
was.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.executors.base import Finished, PhaseChanged, SlotReady, Started
from orchestrator.outcome import Outcome, Phase
from orchestrator.progress.gpus import Gpu
from orchestrator.progress.live import LiveProgress, PlainProgress, progress_for
from orchestrator.progress.panel import panel
from orchestrator.progress.tally import Tally
from orchestrator.progress.time_left import Estimator
from orchestrator.results.meta import SweepMeta
from orchestrator.spec.models import MeasureSpec, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial
from tests.support import made

AXES: dict[str, list[Any]] = {"batch": [1, 2, 4, 8], "seq_len": [1024], "heads": [8]}


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def meta(names: tuple[str, ...] = ("standard", "improved")) -> SweepMeta:
    return made.results(made.trials(names, AXES, dtype="float32"), [], axes=AXES).meta


def attempt(trial: Trial, number: int = 1) -> Attempt:
    protocol = MeasureSpec().for_device("cpu")
    return Attempt(
        sweep_id=made.SWEEP_ID, trial=trial, workload="toy", base_dir=".", device="cpu", seed=0,
        protocol=protocol, verify=VerifySpec(), resources=Resources(), attempt=number,
    )  # fmt: skip


def run(
    tally: Any,
    clock: Clock,
    trial: Trial,
    seconds: float,
    outcome: Outcome = Outcome.OK,
    number: int = 1,
) -> None:
    """One attempt on slot 0."""
    made_record = (
        made.ok(trial, attempt=number)
        if outcome is Outcome.OK
        else made.bad(trial, outcome, attempt=number)
    )
    tally.event(Started(attempt(trial, number), 0))
    clock.now += seconds
    tally.event(Finished(attempt(trial, number), made_record))


@given(
    st.floats(0.1, 5),
    st.floats(0, 2),
    st.lists(st.integers(1, 100), min_size=3, max_size=10, unique=True),
)
def test_an_estimate_recovers_a_fixed_cost_and_a_cost_per_work(
    fixed: float, slope: float, works: list[int]
) -> None:
    """Attempts on a line are predicted on that line, in sum as one by one."""
    trials = made.trials(["standard"], {"batch": works})
    estimator = Estimator(lambda trial: float(trial.params["batch"]))
    for trial in trials:
        estimator.learn(trial, fixed + slope * trial.params["batch"])
    ahead = made.trials(["standard"], {"batch": [200, 300]})
    for trial in ahead:
        estimator.expect(trial)
    assert estimator.predict(ahead[0]) == pytest.approx(fixed + 200 * slope, rel=1e-3)
    assert estimator.ahead() == pytest.approx(2 * fixed + 500 * slope, rel=1e-3)


def test_time_left_weighs_work_and_not_counts() -> None:
    """Three small shapes took a second each per unit of work; the large one left counts by its
    size.
    """
    clock, tally = Clock(), Tally()
    tally = Tally(clock)
    sweep = meta(("standard",))
    tally.start(sweep, ())
    tally._estimator = Estimator(lambda trial: float(trial.params["batch"]))
    for trial in sweep.planned:
        tally._estimator.expect(trial)
    assert tally.left_s() is None
    for trial in sweep.planned[:3]:
        run(tally, clock, trial, trial.params["batch"])
    assert tally.left_s() == pytest.approx(8.0)


def test_two_slots_share_what_is_left_but_not_one_attempt() -> None:
    """The last attempt takes as long as it takes, however many slots are idle."""
    clock = Clock()
    tally = Tally(clock)
    sweep = meta(("standard",))
    tally.start(sweep, ())
    tally.event(SlotReady(0))
    tally.event(SlotReady(1))
    for trial in sweep.planned[:3]:
        run(tally, clock, trial, 10.0)
    tally.event(Started(attempt(sweep.planned[3]), 1))
    assert tally.left_s() == pytest.approx(10.0)
    clock.now += 4
    assert tally.left_s() == pytest.approx(6.0)


def test_a_retry_takes_the_place_of_the_attempt_before_it() -> None:
    """A round that crashed and then went well is one round, and ok."""
    clock = Clock()
    tally = Tally(clock)
    sweep = meta()
    tally.start(sweep, ())
    run(tally, clock, sweep.planned[0], 1.0, Outcome.CRASHED)
    run(tally, clock, sweep.planned[0], 1.0, number=2)
    assert (len(tally.done), dict(tally.outcomes)) == (1, {"ok": 1})


def test_an_attempt_that_is_made_again_is_not_done_and_its_time_lies_ahead() -> None:
    """A contended attempt of ten seconds leaves the count where it was, and ten seconds to go."""
    clock = Clock()
    tally = Tally(clock)
    sweep = meta(("standard",))
    tally.start(sweep, ())
    for trial in sweep.planned:
        tally.event(SlotReady(0))
        tally.event(Started(attempt(trial), 0))
        clock.now += 10
        contended = made.ok(trial, flags=("contended",))
        tally.event(Finished(attempt(trial), contended, again=trial is sweep.planned[0]))
    assert (len(tally.done), len(tally.again), tally.total) == (3, 1, 4)
    assert tally.left_s() == pytest.approx(10.0)
    run(tally, clock, sweep.planned[0], 10.0, number=2)
    assert (len(tally.done), len(tally.again), tally.left_s()) == (4, 0, pytest.approx(0.0))


def disturbed(count: int = 4, again: bool = True) -> tuple[Tally, Clock]:
    """A sweep whose first attempts were all contended and are to be made again."""
    clock = Clock()
    tally = Tally(clock)
    sweep = meta(("standard",))
    tally.start(sweep, ())
    for trial in sweep.planned[:count]:
        tally.event(Started(attempt(trial), 0))
        clock.now += 10
        tally.event(
            Finished(attempt(trial), made.ok(trial, flags=("noisy", "contended")), again=again)
        )
    return tally, clock


def test_the_display_says_why_rows_are_measured_again_and_counts_them() -> None:
    """`0 ok, 24 to be tried again` for five minutes left the reader alone."""
    tally, _ = disturbed()
    text = "\n".join(drawn(tally, 100))
    assert "4/4 50 %" in text
    assert "4 contended, once more at the end" in text
    assert "others use the cores or the GPU" in text
    assert "`orchestrator doctor`" in text


def test_rows_attempts_and_time_agree_at_the_end() -> None:
    """`2 of 30 attempts` above a table of 30 rows. A repeat that is given up leaves the row that
    there was.
    """
    tally, clock = disturbed()
    trial = meta(("standard",)).planned[0]
    tally.event(Started(attempt(trial, 2), 0))
    clock.now += 10
    tally.event(Finished(attempt(trial, 2), made.ok(trial, attempt=2)))
    assert (
        tally.summary()
        == "4 of 4 rows: 4 ok, in 50 s with all preparation; 5 attempts, 1 of them repeats (contended)"
    )


def test_what_was_screened_before_is_no_repeat_for_a_disturbance() -> None:
    """The best of a search are measured by themselves, on a quiet machine, too."""
    clock = Clock()
    tally = Tally(clock)
    sweep = meta(("standard",))
    tally.start(sweep, ())
    for trial in sweep.planned:
        tally.event(Finished(attempt(trial), made.ok(trial, flags=("screened",))))
    best = sweep.planned[0]
    tally.event(Finished(attempt(best, 2), made.ok(best, attempt=2)))
    assert tally.summary().endswith("5 attempts, 1 of them repeats (screened before)")


def test_a_line_of_the_log_says_why_a_row_is_measured_again() -> None:
    """The reason, not only that it is so."""
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, tally=Tally(clock))
    sweep = meta(("standard",))
    progress.start(sweep, ())
    progress.event(
        Finished(
            attempt(sweep.planned[0]), made.ok(sweep.planned[0], flags=("contended",)), again=True
        )
    )
    line = stream.getvalue().splitlines()[-1]
    assert "[1/4] ✓ contended" in line
    assert "other processes took its time: measured again at the end" in line


def test_the_display_shows_the_rows_that_ended_last() -> None:
    """Times are seen while the sweep runs, the newest first, and only as many as fit."""
    tally, _ = disturbed(again=False)
    lines = drawn(tally, 100)
    shown = [line for line in lines if line.startswith("✓") and " ms " in line]
    assert len(shown) == 4
    assert "batch=8" in shown[0]


def test_an_attempt_that_a_later_one_replaced_is_not_counted_when_a_sweep_goes_on() -> None:
    """A row that was repaired is ok, and no longer `1 failed`."""
    sweep = meta(("standard",))
    first, *rest = sweep.planned
    records = [
        made.bad(first, Outcome.FAILED), *(made.ok(trial) for trial in rest), made.ok(first, attempt=2)
    ]  # fmt: skip
    tally = Tally(Clock())
    tally.start(sweep, records)
    assert dict(tally.outcomes) == {"ok": 4}
    assert tally.summary().startswith("4 of 4 rows: 4 ok")


def test_a_resumed_sweep_counts_and_learns_from_its_journal() -> None:
    """What finished before is done, and its durations tell how long the rest takes."""
    sweep = meta()
    tally = Tally(Clock())
    tally.start(sweep, [made.ok(trial) for trial in sweep.planned[:3]])
    assert (tally.total, len(tally.done)) == (8, 3)
    assert tally.left_s() == pytest.approx(5 * 730.0)  # each record says that it took 12 min 10 s


def test_plain_progress_writes_one_line_per_attempt() -> None:
    """Outcome, trial, reason; control characters of an error do not reach the terminal."""
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, tally=Tally(clock))
    sweep = meta()
    progress.start(sweep, ())
    run(progress, clock, sweep.planned[0], 1.0)
    evil = made.bad(sweep.planned[1], Outcome.FAILED, "ValueError", "red\x1b[31m")
    progress.event(Finished(attempt(sweep.planned[1]), evil))
    progress.stop()
    lines = [line[9:] for line in stream.getvalue().splitlines()]
    assert lines == [
        f"full ({made.SWEEP_ID}): 8 attempts",
        "[1/8] ✓ 1.00 ms  standard batch=1 seq_len=1024 heads=8",
        r"[2/8] ✗ failed  standard batch=2 seq_len=1024 heads=8: ValueError: red\x1b[31m",
        "2 of 8 rows: 1 ok, 1 failed, in 1 s with all preparation",
    ]


def test_quiet_progress_speaks_of_failures_and_once_a_minute() -> None:
    """Fifty-nine seconds of success are silent."""
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, quiet=True, tally=Tally(clock))
    sweep = meta()
    progress.start(sweep, ())
    run(progress, clock, sweep.planned[0], 59.0)
    said = len(stream.getvalue().splitlines())
    run(progress, clock, sweep.planned[1], 2.0)
    run(progress, clock, sweep.planned[2], 1.0, Outcome.OOM)
    assert said == 1
    assert len(stream.getvalue().splitlines()) == 3


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    """Where stderr is no terminal nothing moves the cursor."""
    with (tmp_path / "log").open("w") as stream:
        assert isinstance(progress_for(stream=stream), PlainProgress)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_frame_fits_its_terminal(width: int) -> None:
    """Slots, phases, failures and counts in lines no wider than the terminal, and not more than
    fit.
    """
    clock = Clock()
    tally = Tally(clock)
    sweep = meta()
    tally.start(sweep, ())
    for slot in range(40):
        tally.event(SlotReady(slot))
    run(tally, clock, sweep.planned[0], 3.0, Outcome.OOM)
    tally.event(Started(attempt(sweep.planned[1]), 1))
    tally.event(PhaseChanged(attempt(sweep.planned[1]), Phase.MEASURE, 1))
    console = Console(
        width=width, height=24, file=io.StringIO(), force_terminal=True, color_system=None
    )
    with console.capture() as capture:
        console.print(panel("full", tally, {}, width, 24))
    lines = capture.get().splitlines()
    assert len(lines) <= 22
    assert all(len(line) <= width for line in lines)
    assert "1/8" in lines[0]
    assert any("measure" in line for line in lines)
    assert any("✗ oom" in line for line in lines[2:])


def test_eighty_columns_name_the_whole_trial_beside_its_gpu() -> None:
    """Where names of axes do not fit, their values do; at 200 columns both do."""
    axes = {"batch": [4], "seq_len": [4096], "heads": [16]}
    sweep = made.results(made.trials(["multihead_standard"], axes), [], axes=axes).meta
    clock = Clock()
    tally = Tally(clock)
    tally.start(sweep, ())
    tally.event(SlotReady(0))
    tally.event(Started(attempt(sweep.planned[0]), 0))
    tally.event(PhaseChanged(attempt(sweep.planned[0]), Phase.FIRST_CALL, 0))
    clock.now += 3599
    lines = {width: drawn(tally, width)[-1].rstrip() for width in (80, 200)}
    assert (
        " ".join(lines[80].split())
        == "slot 0 multihead_standard (4, 4096, 16) first call 59:59 71.3 GiB 65 °C"
    )
    assert lines[200].split()[2:6] == ["multihead_standard", "batch=4", "seq_len=4096", "heads=16"]


def drawn(tally: Tally, width: int) -> list[str]:
    """The lines of a frame with one GPU."""
    stream = io.StringIO()
    Console(file=stream, width=width, height=24).print(
        panel("full", tally, {0: Gpu(71.3, 65)}, width, 24)
    )
    return stream.getvalue().splitlines()


def test_the_display_gives_the_terminal_back() -> None:
    """The cursor that was hidden is shown again, also when stop is called twice."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, height=24, legacy_windows=False)
    progress = LiveProgress(console)
    sweep = meta()
    progress.start(sweep, ())
    progress.event(Started(attempt(sweep.planned[0]), 0))
    progress.note("a note")
    progress.stop()
    progress.stop()
    text = stream.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "a note" in text


def test_a_second_of_display_costs_less_than_a_hundredth_of_a_core() -> None:
    """Frames with sixteen slots of a sweep of 1,000 trials, in processor time."""
    axes = {"batch": list(range(1, 501)), "seq_len": [1024], "heads": [8]}
    sweep = made.results(made.trials(["standard", "improved"], axes), [], axes=axes).meta
    tally = Tally()
    tally.start(sweep, ())
    for slot, trial in enumerate(sweep.planned[:16]):
        tally.event(SlotReady(slot))
        tally.event(Started(attempt(trial), slot))
    console = Console(file=io.StringIO(), force_terminal=True, width=200, height=50)
    console.print(panel("full", tally, {}, 200, 50))
    begun = time.process_time()
    for _ in range(20):
        console.print(panel("full", tally, {}, 200, 50))
    assert (time.process_time() - begun) / 20 < 0.01


def test_what_is_waited_for_is_shown_until_the_sweep_begins_or_does_not() -> None:
    """A start that fails leaves the cursor as it was, and nothing on the screen."""
    stream = io.StringIO()
    progress = LiveProgress(Console(file=stream, force_terminal=True, width=80, height=24))
    progress.opening("starting Ray on this machine")
    progress.stop()
    text = stream.getvalue()
    assert "starting Ray on this machine" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "attempts" not in text


@pytest.mark.parametrize(("quiet", "lines"), [(False, 1), (True, 0)])
def test_plain_progress_says_what_is_waited_for_unless_quiet(quiet: bool, lines: int) -> None:
    """One line, or none."""
    stream = io.StringIO()
    PlainProgress(stream, quiet).opening("starting Ray on this machine")
    assert len(stream.getvalue().splitlines()) == lines
