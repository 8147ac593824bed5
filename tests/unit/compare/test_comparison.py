"""Two sweeps compared: verdicts that neither cry wolf nor sleep."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from orchestrator.compare.comparison import Comparison, Verdict, compare
from orchestrator.errors import ComparisonError
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import Fingerprint, TrialRecord
from orchestrator.report.comparing.comparison import markdown_page, table
from orchestrator.results.results import Results
from orchestrator.trial import Trial
from tests.support import made
from tests.support.driven import Driven, End
from tests.support.sweeps import sweep as small_sweep

AXES = {"batch": [1], "seq_len": [1024, 2048, 4096, 8192], "heads": [8]}
PLANNED = made.trials(["standard"], AXES, dtype="float32")


def sweep(
    seed: int,
    *,
    planned: Sequence[Trial] = PLANNED,
    rounds: int = 5,
    between: float = 0.004,
    slow: float = 1.0,
    device: str = "cuda",
    ends: Mapping[int, Outcome] | None = None,
    environment: Mapping[str, Any] | None = None,
    within: float = 0.004,
    flags: tuple[str, ...] = (),
) -> Results:
    """A sweep whose rows last 1, 2, 3, ... ms times `slow`; `ends` gives rows (by number) that are
    not ok; `between` and `within` processes times differ by these standard deviations.
    """
    rng = np.random.default_rng(seed)
    records = []
    for number, trial in enumerate(planned):
        for this_round in range(1, rounds + 1):
            if ends and number in ends:
                records.append(made.bad(trial, ends[number], round=this_round))
                continue
            level = (number + 1) * slow * (1 + between * rng.standard_normal())
            values = tuple(map(float, level * (1 + within * rng.standard_normal(40))))
            record = measured(trial, values, this_round)
            records.append(record.model_copy(update={"flags": flags}))
    found = made.results(planned, records, axes=AXES)
    facts = {**made.ENVIRONMENT["match"], **(environment or {})}
    key = "e" * 16 if environment is None else "f" * 16
    prints = Fingerprint(source="s" * 16, environment=key, protocol="p" * 16)
    moved = tuple(record.model_copy(update={"fingerprint": prints}) for record in found.records)
    meta = found.meta.model_copy(update={"device": device, "sweep_id": f"20261122_{seed:06d}_aaaa"})
    return Results(meta, moved, {key: {"match": facts, "know": {}}})


def measured(trial: Trial, values: tuple[float, ...], this_round: int) -> TrialRecord:
    """An ok record with these repetitions."""
    metrics = {"latency_ms": float(np.median(values))}
    return made.record(
        trial, Outcome.OK, phase=Phase.DONE, metrics=metrics, values_ms=values, round=this_round
    )


def verdicts(comparison: Comparison) -> list[Verdict]:
    """The verdict of every row."""
    return [pair.verdict for pair in comparison.rows]


def test_the_same_code_measured_twice_is_the_same() -> None:
    """Four rows with 0.4 % between processes: none differs, and most are settled as the same."""
    found = compare(sweep(1), sweep(2))
    assert set(verdicts(found)) <= {Verdict.SAME, Verdict.UNCLEAR}
    assert verdicts(found).count(Verdict.SAME) >= 2
    assert found.exit_code == 0
    assert found.geometric_mean == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("rounds", [1, 3, 5])
def test_a_hundred_rows_measured_twice_give_no_false_alarm(rounds: int) -> None:
    """A/A: of 100 rows compared with themselves none is faster or slower."""
    planned = made.trials(["standard"], {**AXES, "seq_len": list(range(1, 101))}, dtype="float32")
    found = compare(
        sweep(3, planned=planned, rounds=rounds), sweep(4, planned=planned, rounds=rounds)
    )
    assert set(verdicts(found)) <= {Verdict.SAME, Verdict.UNCLEAR}
    assert len(found.rows) == 100


def test_a_slow_down_is_found_and_fails() -> None:
    """Five percent on every row is a regression: exit 1."""
    found = compare(sweep(1), sweep(2, slow=1.05))
    assert verdicts(found) == [Verdict.SLOWER] * 4
    assert (found.verdict, found.exit_code) == (Verdict.SLOWER, 1)
    assert found.geometric_mean == pytest.approx(1.05, abs=0.01)


def test_a_speed_up_is_found_and_passes() -> None:
    """The same in the other direction is no failure."""
    found = compare(sweep(1, slow=1.05), sweep(2))
    assert verdicts(found) == [Verdict.FASTER] * 4
    assert (found.verdict, found.exit_code) == (Verdict.FASTER, 0)


def test_the_threshold_can_be_set() -> None:
    """A slow-down of 5 % passes where only 10 % counts."""
    found = compare(sweep(1), sweep(2, slow=1.05), fail_slower=0.10)
    assert set(verdicts(found)) == {Verdict.SAME}
    assert found.exit_code == 0


def test_no_threshold_can_be_set_below_the_noise() -> None:
    """Where processes differ by 3 %, a threshold of 0.1 % does not make 3 % a regression."""
    found = compare(sweep(1, between=0.03), sweep(2, between=0.03), fail_slower=0.001)
    assert all(pair.threshold > 0.01 for pair in found.rows)
    assert Verdict.SLOWER not in verdicts(found)


@pytest.mark.parametrize(
    ("device", "unclear", "clear"), [("cuda", 1.025, 1.05), ("cpu", 1.12, 1.25)]
)
def test_without_repeats_small_changes_are_unclear_and_it_says_so(
    device: str, unclear: float, clear: float
) -> None:
    """One process a row leaves the spread between processes unknown: 3 % on a GPU, 15 % on a CPU."""
    base = sweep(1, rounds=1, device=device, between=0.001)
    small = compare(base, sweep(2, rounds=1, device=device, between=0.001, slow=unclear))
    large = compare(base, sweep(2, rounds=1, device=device, between=0.001, slow=clear))
    assert set(verdicts(small)) == {Verdict.UNCLEAR}
    assert "4 rows without repeats" in table(small)
    assert verdicts(large) == [Verdict.SLOWER] * 4


def test_what_shook_a_row_within_its_process_may_have_moved_it_between_two() -> None:
    """A row in doubt whose repetitions differ by 20 % is not slower by a third, but it is by three
    times; a sweep of the same noise that was not in doubt says so as ever.
    """
    how: dict[str, Any] = {"rounds": 1, "device": "cpu", "within": 0.2}
    base = sweep(1, flags=("noisy",), **how)
    assert set(verdicts(compare(base, sweep(2, slow=1.35, flags=("noisy",), **how)))) == {
        Verdict.UNCLEAR
    }
    assert (
        verdicts(compare(base, sweep(2, slow=3.0, flags=("noisy",), **how))) == [Verdict.SLOWER] * 4
    )
    assert verdicts(compare(sweep(1, **how), sweep(2, slow=1.35, **how))) == [Verdict.SLOWER] * 4


def test_a_row_that_newly_fails_is_a_regression_and_one_that_newly_works_is_not() -> None:
    """Outcomes are compared too; a row that fails in both in the same way is the same."""
    base = sweep(1, ends={1: Outcome.OOM, 3: Outcome.TIMEOUT})
    candidate = sweep(2, ends={2: Outcome.MISMATCH, 3: Outcome.TIMEOUT})
    found = compare(base, candidate)
    assert verdicts(found)[1:] == [Verdict.NEWLY_OK, Verdict.NEWLY_FAILING, Verdict.SAME]
    assert [pair.note for pair in found.rows[1:]] == [
        "oom, now ok",
        "ok, now mismatch",
        "timeout in both",
    ]
    assert (found.verdict, found.exit_code) == (Verdict.NEWLY_FAILING, 1)


def test_unlike_environments_are_refused_by_the_names_of_their_fields() -> None:
    """Another torch is another experiment, unless the caller insists; then the output says so."""
    base, candidate = sweep(1), sweep(2, environment={"torch": "2.13.0"})
    with pytest.raises(ComparisonError, match=r"torch: 2\.11\.0, 2\.13\.0"):
        compare(base, candidate)
    forced = compare(base, candidate, force=True)
    assert forced.environment_differences == ("torch: 2.11.0, 2.13.0",)
    assert "Forced" in table(forced)


def test_unlike_protocols_are_refused_too() -> None:
    """A figure from another protocol is another figure."""
    base, candidate = sweep(1), sweep(2)
    spec = candidate.meta.spec
    measure = spec.measure.model_copy(update={"min_time_s": 5.0})
    meta = candidate.meta.model_copy(update={"spec": spec.model_copy(update={"measure": measure})})
    with pytest.raises(ComparisonError, match=r"protocol\.min_time_s"):
        compare(base, Results(meta, candidate.records, candidate.environments))


def test_what_was_measured_in_turns_is_not_held_against_what_was_measured_alone() -> None:
    """A side of a duel shares its process with the other, and stops when the ratio is known."""
    candidate = sweep(2)
    meta = candidate.meta.model_copy(update={"duel": ("standard", "improved")})
    of_duel = Results(meta, candidate.records, candidate.environments)
    with pytest.raises(ComparisonError, match="measured: alone, in turns"):
        compare(sweep(1), of_duel)
    assert compare(of_duel, of_duel).environment_differences == ()


def test_sweeps_without_a_row_in_common_are_refused() -> None:
    """There is nothing to say, and it names what it looked for."""
    other = made.trials(["improved"], AXES, dtype="float32")
    with pytest.raises(ComparisonError, match=r"no row in common.*standard against improved"):
        compare(sweep(1), sweep(2, planned=other))
    larger = made.trials(["standard"], {**AXES, "seq_len": [512, 16384]}, dtype="float32")
    with pytest.raises(
        ComparisonError, match=r"seq_len 1024, 2048, 4096, 8192 against 512, 16384$"
    ):
        compare(sweep(1), sweep(2, planned=larger))


def test_a_sweep_that_stopped_before_any_row_is_no_other_sweep() -> None:
    """The rows are those of the base; they were not run, which resume mends."""
    stopped = Results(sweep(2).meta, (), {})
    for pair in [(sweep(1), stopped), (stopped, sweep(1))]:
        with pytest.raises(ComparisonError, match=r"no row was run in both .* resume"):
            compare(*pair)


@pytest.mark.parametrize("values", [None, (), (0.0, 0.0, 0.0), (1.0, 0.0)])
def test_a_row_without_times_has_no_ratio(values: tuple[float, ...] | None) -> None:
    """Whatever befell its line of the journal, the others are compared."""
    candidate = sweep(2)
    records = tuple(
        record.model_copy(update={"values_ms": values})
        if record.trial_id == PLANNED[0].trial_id
        else record
        for record in candidate.records
    )
    found = compare(sweep(1), Results(candidate.meta, records, candidate.environments))
    assert verdicts(found) == [Verdict.UNCLEAR, *[Verdict.SAME] * 3]
    assert found.rows[0].ratio is None
    assert "took no time" in table(found)


def test_a_single_repetition_is_no_regression() -> None:
    """min_repetitions may be 1, and max_time_s short: 30 % more, once, is nothing to fail for."""
    both = []
    for factor in (1.0, 1.3):
        results = sweep(1, rounds=1)
        records = tuple(
            record.model_copy(update={"values_ms": (factor,)}) for record in results.records
        )
        both.append(Results(results.meta, records, results.environments))
    found = compare(*both)
    assert set(verdicts(found)) == {Verdict.UNCLEAR}
    assert {pair.note for pair in found.rows} == {"a single repetition has no interval"}


def test_rows_of_one_sweep_only_are_listed() -> None:
    """A row that the other sweep does not have is not forgotten; one that it has, and did not get
    to, is a failure.
    """
    unfinished = sweep(2)
    last = PLANNED[-1].trial_id
    records = tuple(record for record in unfinished.records if record.trial_id != last)
    found = compare(
        sweep(1, planned=PLANNED[1:]), Results(unfinished.meta, records, unfinished.environments)
    )
    assert [row["only_in"] for row in found.unmatched] == ["candidate"]
    assert [pair.note for pair in found.rows if pair.verdict is Verdict.NEWLY_FAILING] == [
        "ok, now not run"
    ]
    assert (len(found.rows), found.exit_code) == (3, 1)


def searched(scale: float, seed: int, metric: str = "latency_ms") -> Results:
    """A search of two shapes, 4 points each, whose best point depends on the seed."""
    axes = "{batch: [1], seq_len: [64, 128], heads: [4], options.block: {low: 1, high: 1000}}"
    how = f"{{strategy: random, samples: 4, seed: {seed}, metric: {metric}}}"

    def ends(trial: Trial) -> End:
        return Outcome.OK, scale * (1 + trial.options["block"] / 1000)

    return (
        Driven(small_sweep(axes=axes, implementations="[improved]", search=how))
        .drive(ends)
        .results()
    )


def test_two_searches_are_compared_by_what_they_found() -> None:
    """Best against best at each shape, whatever points were tried; what was found is in the note."""
    base, candidate = searched(1.0, 1), searched(10.0, 2)
    found = compare(base, candidate)
    assert [pair.base.params["seq_len"] for pair in found.rows] == [64, 128]
    for pair in found.rows:
        assert pair.base.metrics["latency_ms"] == min(
            row.metrics["latency_ms"] for row in base.rows if row.params == pair.base.params
        )
        was, now = (row.trial.options["block"] for row in (pair.base, pair.candidate))
        assert f"block {was}, now {now}" in pair.note
        assert pair.ratio is not None
        assert pair.ratio.value > 4
    with pytest.raises(ComparisonError, match="searched for the best tflops_per_s"):
        compare(base, searched(1.0, 1, "tflops_per_s"))


def test_rows_that_differ_in_options_alone_are_told_apart_by_them() -> None:
    """An axis of options makes rows of one label and params; each is compared with its own."""
    axes: dict[str, list[Any]] = {**AXES, "seq_len": [1024], "options.block_m": [64, 128]}
    planned = made.trials(["standard"], axes, dtype="float32")
    found = compare(sweep(1, planned=planned), sweep(2, planned=planned))
    assert [pair.base.trial.options["block_m"] for pair in found.rows] == [64, 128]
    assert all(pair.base.trial.options == pair.candidate.trial.options for pair in found.rows)


def test_an_option_of_the_entry_that_changed_is_what_is_compared() -> None:
    """Rows match by label and params: the same label with another option is the candidate."""
    small, large = (
        made.trials(["standard"], {**AXES, "options.block_m": [block]}, dtype="float32")
        for block in (64, 128)
    )
    assert len(compare(sweep(1, planned=small), sweep(2, planned=large)).rows) == 4


def test_the_json_has_what_the_contract_names() -> None:
    """`compare --json`, ready for another program; no NaN, no infinity."""
    found = compare(sweep(1), sweep(2, ends={0: Outcome.OOM})).to_json()
    assert {"rows", "unmatched", "environment_differences", "verdict"} <= set(found)
    wanted = {"implementation", "params", "verdict", "ratio", "ratio_ci_low", "ratio_ci_high"}
    assert all(wanted <= set(row) for row in found["rows"])
    assert found["rows"][0]["ratio"] is None
    assert (
        found["rows"][1]["ratio_ci_low"]
        < found["rows"][1]["ratio"]
        < found["rows"][1]["ratio_ci_high"]
    )
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("render", [table, markdown_page])
def test_the_renderings_show_what_varies_and_how_it_ended(
    render: Callable[[Comparison], str],
) -> None:
    """Sequence length varies and has a column, batch does not; the mean and the counts stand below."""
    shown = render(compare(sweep(1), sweep(2, slow=1.05)))
    assert "Seq Len" in shown
    assert "Batch" not in shown
    assert "slower" in shown
    assert "Geometric mean of 4 ratios: 1.05" in shown
    assert "4 rows: 4 slower" in shown


def test_noise_is_no_proof_of_sameness() -> None:
    """Where processes differ by 40 %, an interval of +-60 % lies within the threshold and says
    nothing all the same.
    """
    found = compare(sweep(1, between=0.3), sweep(2, between=0.3))
    assert all(pair.threshold > 0.2 for pair in found.rows)
    assert Verdict.SAME not in verdicts(found)
    wide = compare(sweep(1, between=0.02), sweep(2, between=0.02), fail_slower=0.5)
    assert set(verdicts(wide)) == {Verdict.SAME}


def test_a_doubtful_row_says_so_beside_its_verdict() -> None:
    """Flags of either sweep stand in the note."""
    candidate = sweep(2)
    records = tuple(
        record.model_copy(update={"flags": ("throttled",)}) for record in candidate.records
    )
    found = compare(sweep(1), Results(candidate.meta, records, candidate.environments))
    assert {pair.note for pair in found.rows} <= {"throttled", "noisy, throttled"}


@pytest.mark.parametrize(("flag", "said"), [("throttled", 4), ("contended", 4), ("noisy", 0)])
def test_changes_between_disturbed_rows_are_called_doubtful(flag: str, said: int) -> None:
    """What slowed a machine down is no regression: the footer says how many verdicts may be nothing
    else.
    """
    candidate = sweep(2, slow=1.5)
    records = tuple(record.model_copy(update={"flags": (flag,)}) for record in candidate.records)
    found = compare(sweep(1), Results(candidate.meta, records, candidate.environments))
    assert set(verdicts(found)) == {Verdict.SLOWER}
    assert (f"Doubtful: {said} changes of 4 rest on rows" in table(found)) == bool(said)
    assert ("Doubtful" in markdown_page(found)) == bool(said)
    for shown in (table(found), markdown_page(found)):
        heading = shown.splitlines()[0]
        assert heading.endswith("slower, doubtful: the machine was busy" if said else ": slower")


def test_what_was_only_screened_is_no_time_to_compare() -> None:
    """A search shared one process among candidates: however fast, it is no verdict."""
    candidate = sweep(2, slow=0.5)
    records = tuple(
        record.model_copy(update={"flags": ("screened",)}) for record in candidate.records
    )
    found = compare(sweep(1), Results(candidate.meta, records, candidate.environments))
    assert set(verdicts(found)) == {Verdict.UNCLEAR}
    assert [pair.ratio for pair in found.rows] == [None] * 4
    assert "only screened" in found.rows[0].note


def test_a_threshold_is_written_out() -> None:
    """120 %, not 1.2e+02 %."""
    found = compare(sweep(1, rounds=1), sweep(2, rounds=1), fail_slower=1.2)
    assert "less than 120 % is unclear" in table(found)
