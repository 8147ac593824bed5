"""The verdict counts, compares point by point, and claims no lead that the intervals do not allow."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.machine.observation import Control, Observation
from orchestrator.outcome import Outcome
from orchestrator.report.layout import Layout
from orchestrator.report.ranking import Ranking, ratio
from orchestrator.results.results import Results
from tests.support import made

ONE = {"batch": [1], "seq_len": [1024], "heads": [8]}


def verdict_of(*scales: tuple[str, float]) -> Ranking:
    """The verdict on one point where each implementation takes `scale` times what it would."""
    planned = made.trials([name for name, _ in scales], ONE)
    records = [
        made.ok(trial, scale=scale) for trial, (_, scale) in zip(planned, scales, strict=True)
    ]
    return Ranking.of(Layout.of(made.results(planned, records, axes=ONE)))


def test_the_fastest_wins_by_its_lead_over_the_next() -> None:
    """2.5 times as fast as the only rival, whose interval is far away."""
    verdict = verdict_of(("standard", 1.0), ("improved", 1.0))
    assert verdict.winners[0].lead == pytest.approx(2.5)
    assert "Fastest: improved in 1 of 1 shape, 2.50x ahead of the next." in verdict.sentences()


def test_overlapping_intervals_are_too_close_to_call() -> None:
    """1 % apart with intervals of 1 % each side: nobody wins."""
    verdict = verdict_of(("standard", 1.0), ("improved", 2.49))
    assert [standing.wins for standing in verdict.standings] == [0, 0]
    assert [standing.shared for standing in verdict.standings] == [0, 1]
    assert verdict.sentences()[-1].startswith("Too close to call: 1 of 1 shape")


def controls(*matmul_ms: float) -> tuple[Observation, ...]:
    """Of a machine whose fixed product took so long, one time after another."""
    seen = []
    for value in matmul_ms:
        control = Control(at="then", matmul_ms=value, copy_ms=1.0)
        seen.append(Observation(kind="sentinel", at="then", host="h", values=control.model_dump()))
    return tuple(seen)


@pytest.mark.parametrize(
    ("matmul_ms", "repeats", "wins"),
    [((1.0, 1.01), 1, 1), ((1.0, 1.7), 1, 1), ((1.0, 1.8), 1, 0), ((1.0, 1.8), 3, 1)],
)
def test_a_lead_that_the_machine_may_have_made_is_none(
    matmul_ms: tuple[float, ...], repeats: int, wins: int
) -> None:
    """2.5x ahead of the next is less than twice 80 % of change; rounds in several processes have
    intervals that know of it.
    """
    planned = made.trials(["standard", "improved"], ONE)
    records = [made.ok(trial) for trial in planned]
    found = made.results(planned, records, axes=ONE, measure={"repeats": repeats})
    found = dataclasses.replace(found, observations=controls(*matmul_ms))
    verdict = Ranking.of(Layout.of(found))
    assert sum(standing.wins for standing in verdict.standings) == wins
    if wins:
        return
    assert verdict.winners[0].apart
    said = verdict.sentences()[-1]
    assert "1 of 1 shape (ahead by less than 2.60x, and the machine itself changed by 80%" in said
    assert "measure.repeats" in said


def test_speed_is_a_geometric_mean_over_the_points_that_both_have(mixed: Results) -> None:
    """A missing row on either side leaves its point out."""
    verdict = Ranking.of(Layout.of(mixed))
    by_name = {standing.implementation: standing for standing in verdict.standings}
    assert by_name["improved"].speedup == pytest.approx((2.5, 2.5, 2.5))
    assert by_name["multihead_standard"].compared == 1
    assert by_name["standard"].flagged == 1


def test_what_went_wrong_is_said_before_what_is_fast(mixed: Results) -> None:
    """Wrong, out of memory and not run each name the implementation and the count."""
    sentences = Ranking.of(Layout.of(mixed)).sentences()
    assert sentences[0].startswith("Wrong: 1 row (multihead_standard in 1 of 4) disagrees")
    assert sentences[1] == "Out of memory: multihead_standard in 1 of 4."
    assert sentences[2] == "Not run: multihead_standard in 1 of 4."


def test_a_sweep_in_which_nothing_ran_has_a_verdict_too() -> None:
    """No winner, no speed, no division by zero."""
    planned = made.trials(["standard"], ONE)
    verdict = Ranking.of(Layout.of(made.results(planned, [], axes=ONE)))
    assert verdict.winners == ()
    assert verdict.sentences() == ["No row has a time yet.", "Not run: standard."]


def test_an_implementation_that_never_works_has_no_speed() -> None:
    """A crash everywhere leaves None, not zero."""
    planned = made.trials(["standard", "improved"], ONE)
    records = [made.ok(planned[0]), made.bad(planned[1], Outcome.CRASHED)]
    standing = Ranking.of(Layout.of(made.results(planned, records, axes=ONE))).standings[1]
    assert (standing.speedup, standing.ok, standing.total) == (None, 0, 1)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0042, "0.0042x"), (1.066, "1.07x"), (12.34, "12.3x"), (140.2, "140x")]
)
def test_ratios_keep_three_digits(value: float, text: str) -> None:
    """No more digits than mean something."""
    assert ratio(value) == text


def apart() -> Ranking:
    """Two implementations of one work, then two of twice the work."""
    planned = made.trials(["standard", "improved", "multihead", "multihead_fast"], ONE)
    records = [made.ok(planned[0]), made.ok(planned[1])]
    for trial, scale in ((planned[2], 2.0), (planned[3], 1.8)):
        record = made.ok(trial, scale=scale)
        rate = {"tflops_per_s": 2 * record.metrics["tflops_per_s"]}
        records.append(record.model_copy(update={"metrics": {**record.metrics, **rate}}))
    return Ranking.of(Layout.of(made.results(planned, records, axes=ONE)))


def test_only_those_that_do_the_same_work_are_ranked_together() -> None:
    """The slower pair does more per call: it has a winner and a baseline of its own."""
    verdict = apart()
    assert list(verdict.kinds.values()) == [0, 0, 1, 1]
    assert [standing.baseline for standing in verdict.standings] == [
        "standard",
        "standard",
        "multihead",
        "multihead",
    ]
    assert [winner.row.implementation for winner in verdict.winners] == [
        "improved",
        "multihead_fast",
    ]
    said = verdict.sentences()
    assert (
        "Not ranked together (they do different work): standard, improved; multihead, multihead_fast."
        in said
    )
    assert "Fastest: multihead_fast in 1 of 1 shape, 1.11x ahead of the next." in said


def test_doubts_close_the_verdict() -> None:
    """One noisy row of two is said; where most are, what to do about it, too."""
    planned = made.trials(["standard", "improved"], ONE)
    records = [made.ok(planned[0], flags=("noisy", "contended")), made.ok(planned[1])]
    said = Ranking.of(Layout.of(made.results(planned, records, axes=ONE))).sentences()[-1]
    assert said == "Doubtful: 1 of 2 timed rows (1 noisy, 1 contended)."
    records[1] = made.ok(planned[1], flags=("noisy",))
    said = Ranking.of(Layout.of(made.results(planned, records, axes=ONE))).sentences()[-1]
    assert said.startswith("Doubtful: both timed rows (2 noisy, 1 contended); run it again")
