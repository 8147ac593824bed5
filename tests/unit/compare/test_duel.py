"""A duel as a sweep: its points, its attempts, its journal, its verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import api
from orchestrator.attempt_result import AttemptResult
from orchestrator.compare import duel
from orchestrator.compare.comparison import Comparison, Verdict
from orchestrator.driver.queue import AttemptQueue
from orchestrator.errors import RequestError
from orchestrator.executors.base import Event, SlotReady
from orchestrator.executors.inline import InlineExecutor
from orchestrator.outcome import Outcome, Phase
from orchestrator.plan.sweep import Sweep
from orchestrator.record import ErrorInfo, TrialRecord, record_of
from orchestrator.report.comparing.comparison import table
from orchestrator.report.comparing.comparison_formats import render, write
from orchestrator.results.results import Results
from orchestrator.stats.ratio import paired_ratio
from orchestrator.trackers.in_memory import MemoryTracker
from orchestrator.trial import Attempt
from tests.support.sweeps import sweep, text

FACTS = {"match": {"device": "cpu"}, "know": {}}
ONE_POINT = {"axes": "{batch: [1], seq_len: [64], heads: [4]}"}


class Ready(InlineExecutor):
    """Says that its slot is there before anything is queued, as a real executor does."""

    def poll(self, timeout_s: float) -> list[Event]:
        first = not self._ready
        self._ready = True
        return [*([SlotReady(0, FACTS)] if first else []), *super().poll(timeout_s)]


def prepared(base: str = "standard", candidate: str = "improved", **fields: str) -> Sweep:
    return duel.prepare(sweep(**fields), base, candidate)


def run(
    found: Sweep,
    directory: Path,
    second: Callable[[Attempt], float],
    resume: bool = False,
    wrong: str = "",
    rerun: str | None = None,
) -> Results:
    """The duel run by a process that is not there: the second side lasts `second(attempt)` times
    the first.

    `wrong` labels a side that disagrees with its reference. Both sides share the level of their process.
    """

    def pretend(attempt: Attempt, _on_phase: object) -> AttemptResult:
        assert attempt.rival is not None
        rng = np.random.default_rng([attempt.round, attempt.attempt])
        level = 1 + 0.1 * rng.standard_normal()
        sides = []
        for one, factor in zip(attempt.of_each_trial(), (1.0, second(attempt)), strict=True):
            noise = 1 + 0.002 * rng.standard_normal(40)
            sides.append(
                _record(one, list(level * factor * noise), one.trial.implementation == wrong)
            )
        return AttemptResult(record=sides[0], second=sides[1])

    executor = Ready(pretend, FACTS)
    return api.run(
        found,
        output=directory,
        resume=resume,
        rerun=rerun,
        executor=lambda _: executor,
        tracker=MemoryTracker,
    )


def _record(attempt: Attempt, values: list[float], wrong: bool) -> TrialRecord:
    return record_of(
        attempt,
        Outcome.MISMATCH if wrong else Outcome.OK,
        Phase.VERIFY if wrong else Phase.DONE,
        "2026-11-22T09:30:00+00:00",
        FACTS["match"],
        error=ErrorInfo.of("Mismatch", "relative error 1.0") if wrong else None,
        metrics=None if wrong else {"latency_ms": float(np.median(values))},
        values_ms=None if wrong else tuple(values),
        finished_at="2026-11-22T09:30:01+00:00",
        environment=FACTS,
    )


def verdicts(comparison: Comparison) -> list[Verdict]:
    return [pair.verdict for pair in comparison.rows]


def test_a_duel_is_of_two_labels_at_every_point_they_share() -> None:
    """The first side's trials, then the second's, in the order of the table; five rounds; nothing
    of the third.
    """
    found = prepared(implementations="[standard, ring_v2, improved]")
    assert [trial.implementation for trial in found.trials] == ["standard"] * 4 + ["improved"] * 4
    assert found.duel == ("standard", "improved")
    assert [entry.label for entry in found.spec.implementations] == ["standard", "improved"]
    assert found.spec.measure.repeats == duel.ROUNDS
    for first in found.trials[:4]:
        assert found.rivals[first.trial_id].params == first.params
    assert "4 points" in found.plan.explain()[-1]


def test_a_side_may_have_params_of_its_own_and_miss_points() -> None:
    """They meet on the axes; where one side is excluded there is no duel."""
    found = prepared(
        candidate="ring",
        implementations="[standard, {use: ring_v2, label: ring, params: {ring_size: 2}}]",
        exclude="['ring_size == 2 and batch == 2']",
    )
    assert [trial.params["ring_size"] for trial in found.trials] == [1, 1, 2, 2]
    assert {trial.params["batch"] for trial in found.trials} == {1}


@pytest.mark.parametrize(
    ("stated", "rounds"), [("{repeats: 1}", 1), ("{repeats: 3}", 3), ("{}", 5)]
)
def test_the_file_s_repeats_hold_where_it_states_them(stated: str, rounds: int) -> None:
    """One round, too, if that is what is asked for."""
    assert prepared(measure=stated).spec.measure.repeats == rounds


@pytest.mark.parametrize(
    ("base", "candidate", "fields", "said"),
    [
        (
            "standart",
            "improved",
            {},
            "no implementation labelled 'standart' (did you mean 'standard'?)",
        ),
        ("standard", "standard", {}, "standard against itself: give it a second entry"),
        (
            "standard",
            "improved",
            {"exclude": "['implementation == \"improved\"']"},
            "no point of the axes in common",
        ),
    ],
)
def test_what_cannot_be_a_duel_is_refused_with_what_to_do(
    base: str, candidate: str, fields: dict[str, str], said: str
) -> None:
    """Before anything runs."""
    with pytest.raises(RequestError) as caught:
        prepared(base, candidate, **fields)
    assert said in str(caught.value)


def test_attempts_carry_both_sides_and_twice_the_time() -> None:
    """One per point and round; the source is that of both."""
    found = prepared(measure="{repeats: 2}", resources="{timeout_s: 50}")
    queue = AttemptQueue(found, "20261122_093000_abcd", "cpu")
    assert len(queue) == 4 * 2
    attempt = queue.next()
    alone = AttemptQueue(sweep(), "20261122_093000_abcd", "cpu").next()
    assert attempt.rival == found.rivals[attempt.trial.trial_id]
    assert attempt.resources.timeout_s == 100
    assert attempt.source != alone.source


def test_a_slow_down_of_two_percent_is_found_where_processes_differ_by_ten(tmp_path: Path) -> None:
    """The ratio within each process does not know of the others; the exit code is compare's."""
    found = duel.judge(run(prepared(), tmp_path / "out", lambda _: 1.02))
    assert verdicts(found) == [Verdict.SLOWER] * 4
    assert found.exit_code == 1
    for pair in found.rows:
        assert pair.ratio is not None
        assert pair.ratio.ci_low < 1.02 < pair.ratio.ci_high
        assert pair.ratio.ci_high - pair.ratio.ci_low < 0.01
        assert pair.measured
    assert found.geometric_mean == pytest.approx(1.02, abs=0.002)


def test_no_difference_is_the_same(tmp_path: Path) -> None:
    """By the spread of the ratio, not of the latencies; and less than one percent is not called
    slower.
    """
    assert set(verdicts(duel.judge(run(prepared(), tmp_path / "a", lambda _: 1.0)))) == {
        Verdict.SAME
    }
    assert Verdict.SLOWER not in verdicts(
        duel.judge(run(prepared(), tmp_path / "b", lambda _: 1.005))
    )


def test_one_round_leaves_small_differences_unclear(tmp_path: Path) -> None:
    """As in compare: what one process says of 2 % may be that process's alone."""
    found = duel.judge(run(prepared(measure="{repeats: 1}"), tmp_path / "out", lambda _: 1.02))
    assert set(verdicts(found)) == {Verdict.UNCLEAR}
    assert "4 rows without repeats" in table(found)


@pytest.mark.parametrize(
    ("wrong", "verdict", "code"),
    [("improved", Verdict.NEWLY_FAILING, 1), ("standard", Verdict.NEWLY_OK, 0)],
)
def test_a_mismatch_of_either_side_is_said_and_has_no_ratio(
    wrong: str, verdict: Verdict, code: int, tmp_path: Path
) -> None:
    """It is named by its label; and the sweep as a whole is not all ok."""
    results = run(prepared(**ONE_POINT), tmp_path / "out", lambda _: 1.0, wrong=wrong)
    found = duel.judge(results)
    (pair,) = found.rows
    assert (pair.verdict, pair.ratio, pair.note) == (verdict, None, f"{wrong}: mismatch")
    assert found.exit_code == code
    assert not results.all_ok


def test_every_row_of_a_duel_is_in_its_journal_and_its_table(tmp_path: Path) -> None:
    """Two records an attempt, each under its own trial; meta says what it was."""
    results = run(prepared(**ONE_POINT), tmp_path / "out", lambda _: 1.0)
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    ]
    assert [line["implementation"] for line in lines] == ["improved", "standard"] * 5
    assert [(row.implementation, row.outcome) for row in results.rows] == [
        ("standard", Outcome.OK),
        ("improved", Outcome.OK),
    ]
    assert results.meta.duel == ("standard", "improved")
    assert duel.is_of(tmp_path / "out", ("standard", "improved"))
    assert not duel.is_of(tmp_path / "out", None)
    assert "improved against standard" in results.meta.spec.description


@pytest.mark.parametrize("wrong", ["standard", "improved"])
def test_either_side_is_worth_another_attempt(wrong: str, tmp_path: Path) -> None:
    """By `retries` and by `--rerun failed`, whichever side it is that failed."""
    found = prepared(**ONE_POINT, retries="{mismatch: 1}")
    run(found, tmp_path / "out", lambda _: 1.02, wrong=wrong)
    journal = tmp_path / "out" / "results.jsonl"
    assert len(journal.read_text().splitlines()) == 2 * 2 * 5
    run(found, tmp_path / "out", lambda _: 1.02, resume=True, rerun="failed")
    assert len(journal.read_text().splitlines()) == 2 * 2 * 5 + 2 * 5


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 7, 10])
def test_a_duel_goes_on_where_its_journal_ends(kept: int, tmp_path: Path) -> None:
    """Also between the two lines of one attempt: that attempt is made again, and only pairs of one
    process count.
    """
    found, whole = prepared(**ONE_POINT), tmp_path / "out"
    run(found, whole, lambda _: 1.02)
    journal = whole / "results.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:kept]))
    results = run(found, whole, lambda _: 1.02, resume=True)
    assert len(journal.read_text().splitlines()) == 10 + kept % 2
    rounds = duel.in_turns(*results.rows)
    assert len(rounds) == 5
    for first, second in rounds:
        assert np.median(second) / np.median(first) == pytest.approx(1.02, abs=0.003)
    assert verdicts(duel.judge(results)) == [Verdict.SLOWER]


def test_a_directory_is_a_duel_s_or_a_sweep_s(tmp_path: Path) -> None:
    """One journal never holds both: the refusal names what is there."""
    run(prepared(**ONE_POINT), tmp_path / "out", lambda _: 1.0)
    with pytest.raises(
        RequestError, match="a duel of standard and improved, not each trial by itself"
    ):
        api.run(
            sweep(**ONE_POINT),
            output=tmp_path / "out",
            resume=True,
            executor=lambda _: Ready(environment=FACTS),
            tracker=MemoryTracker,
        )


def test_the_newest_sweep_of_a_name_is_one_of_the_same_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run --resume` passes by a duel of the same file, and a duel passes by sweeps."""
    monkeypatch.chdir(tmp_path)
    found = prepared(**ONE_POINT)
    results = run(
        found, tmp_path / "mlruns" / "sweeps" / "tiny" / "20261122_093000_abcd", lambda _: 1.0
    )
    again = api.run(
        found, resume=True, executor=lambda _: Ready(environment=FACTS), tracker=MemoryTracker
    )
    assert again.directory is not None
    assert again.directory.resolve() == results.directory
    with pytest.raises(RequestError, match="no sweep named 'tiny' to resume"):
        api.run(sweep(**ONE_POINT), resume=True, executor=lambda _: Ready(), tracker=MemoryTracker)


def test_environment_json_holds_the_protocol_that_is_in_force(tmp_path: Path) -> None:
    """It must match as the machine must; measured again under another one, the file says which."""
    first = run(prepared(**ONE_POINT), tmp_path / "out", lambda _: 1.0)
    assert first.environments == json.loads((tmp_path / "out" / "environment.json").read_text())
    (held,) = first.environments.values()
    assert held == {**FACTS, "protocol": first.meta.spec.measure.for_device("cpu").model_dump()}
    other = prepared(**ONE_POINT, measure="{target_ci: 0.25, repeats: 5}")
    again = run(other, tmp_path / "out", lambda _: 1.0, rerun="stale")
    assert [one["protocol"]["target_ci"] for one in again.environments.values()] == [0.25]


def test_the_renderings_say_that_it_was_a_duel(tmp_path: Path) -> None:
    """Title by labels, the sweep's id in the footer and in the JSON; both are kept beside the
    results.
    """
    results = run(prepared(**ONE_POINT), tmp_path / "out", lambda _: 1.1)
    found = duel.judge(results, fail_slower=0.5)
    assert verdicts(found) == [Verdict.SAME]
    assert render(found, "table").startswith("improved compared with standard: same")
    assert f"(sweep {results.meta.sweep_id})" in render(found, "md")
    write(found, tmp_path / "out")
    kept: dict[str, Any] = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (kept["base"], kept["candidate"], kept["duel"]) == (
        "standard",
        "improved",
        results.meta.sweep_id,
    )
    assert kept["rows"][0]["ratio"] == pytest.approx(1.1, abs=0.01)
    assert (tmp_path / "out" / "comparison.md").read_text() == render(found, "md")


def test_a_duel_of_one_round_is_not_told_of_another_sweep(tmp_path: Path) -> None:
    """There is no second one in which to ask for repeats."""
    results = run(prepared(**ONE_POINT), tmp_path / "out", lambda _: 1.1)
    first = tuple(record for record in results.records if record.round == 1)
    shown = render(duel.judge(replace(results, records=first)), "table")
    assert "set measure.repeats to 5 to see finer" in shown


def test_the_paired_interval_keeps_its_word() -> None:
    """Of 200 duels whose processes differ in their ratio by 0.4 %, it holds the truth in about 95
    of 100.
    """
    rng = np.random.default_rng(0)
    hits = false = 0
    for _ in range(200):
        rounds = []
        for _ in range(5):
            drift = 1 + 0.05 * np.arange(40) / 40
            ratio = 1.0 * np.exp(0.004 * rng.standard_normal())
            rounds.append(
                (
                    drift * (1 + 0.01 * rng.standard_normal(40)),
                    ratio * drift * (1 + 0.01 * rng.standard_normal(40)),
                )
            )
        found, spread = paired_ratio(rounds)
        assert spread is not None
        hits += found.ci_low <= 1 <= found.ci_high
        false += found.p_value < 0.05
    assert hits >= 183
    assert hits + false == 200


def test_a_text_of_a_sweep_stays_the_user_s(tmp_path: Path) -> None:
    """sweep.yaml is the file as it was given; what a duel made of it is in sweep.resolved.json."""
    results = run(prepared(**ONE_POINT), tmp_path / "out", lambda _: 1.0)
    assert (tmp_path / "out" / "sweep.yaml").read_text() == text(**ONE_POINT)
    assert results.meta.spec.measure.repeats == 5
