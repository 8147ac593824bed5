"""The machine of an hour ago is another machine: what its controls say of two sweeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.compare import machine
from orchestrator.compare.comparison import Verdict, compare, paired
from orchestrator.compare.machine import MachineChange, machine_change
from orchestrator.errors import SweepNotFoundError
from orchestrator.machine.observation import Control, Observation
from orchestrator.report.comparing.comparison import ratio_text, table
from orchestrator.results import sweep_directory
from orchestrator.results.results import Results
from orchestrator.stats.ratio import Ratio
from tests.unit.compare.test_comparison import sweep


def controls(*speeds: float, loop: bool = True) -> tuple[Observation, ...]:
    """The controls of a sweep whose machine took so many times as long at each of them."""
    found = []
    for number, speed in enumerate(speeds):
        control = Control(
            at=str(number),
            matmul_ms=3 * speed,
            copy_ms=5 * speed,
            loop_ms=2 * speed if loop else None,
        )
        found.append(
            Observation(kind="sentinel", at=str(number), host="vm", values=control.model_dump())
        )
    return tuple(found)


def on(results: Results, *speeds: float) -> Results:
    """The sweep with these controls."""
    return replace(results, observations=controls(*speeds))


def test_a_machine_that_was_slower_is_no_slower_code() -> None:
    """Rows and controls took 1.5 times as long: the machine differed, and nothing fails."""
    found = compare(on(sweep(1), 1.0, 1.02), on(sweep(2, slow=1.5), 1.5, 1.48))
    assert {pair.verdict for pair in found.rows} == {Verdict.UNCLEAR}
    assert found.exit_code == 0
    said = table(found)
    assert "The machine differed: in the candidate a fixed matmul took 1.48 times as long" in said
    assert "compare --again" in said
    assert found.to_json()["machine"]["high"] == pytest.approx(1.5)


def test_code_that_is_slower_than_its_machine_is_found() -> None:
    """The machine took 1.1 times as long, the rows 1.5 times."""
    found = compare(on(sweep(1), 1.0, 1.0), on(sweep(2, slow=1.5), 1.1, 1.1))
    assert {pair.verdict for pair in found.rows} == {Verdict.SLOWER}


def test_a_machine_that_was_faster_is_no_faster_code() -> None:
    """The other way round."""
    found = compare(on(sweep(1, slow=1.5), 1.5, 1.5), on(sweep(2), 1.0, 1.0))
    assert {pair.verdict for pair in found.rows} == {Verdict.UNCLEAR}
    assert found.verdict is Verdict.UNCLEAR


def test_a_machine_that_did_not_change_hides_nothing_and_is_not_mentioned() -> None:
    """A slow-down of a tenth on a machine whose controls moved by half a percent."""
    found = compare(on(sweep(1), 1.0, 1.005), on(sweep(2, slow=1.1), 1.004, 1.0))
    assert {pair.verdict for pair in found.rows} == {Verdict.SLOWER}
    assert "The machine differed" not in table(found)


def test_a_faster_machine_does_not_make_slower_code_unclear() -> None:
    """It hides a part of the slow-down, never the whole of it."""
    found = compare(on(sweep(1), 1.0, 1.0), on(sweep(2, slow=1.2), 0.8, 0.8))
    assert {pair.verdict for pair in found.rows} == {Verdict.SLOWER}


@pytest.mark.parametrize("slow", [0.6, 1.6])
def test_what_the_controls_of_one_sweep_met_the_rows_of_the_other_may_have_met(slow: float) -> None:
    """A machine that is twice as slow at times: no verdict below that, in either direction."""
    found = compare(on(sweep(1), 1.0, 1.0), on(sweep(2, slow=slow), 1.0, 2.0))
    assert {pair.verdict for pair in found.rows} == {Verdict.UNCLEAR}
    found = compare(on(sweep(1), 1.0, 2.0), on(sweep(2, slow=slow), 1.0, 1.0))
    assert {pair.verdict for pair in found.rows} == {Verdict.UNCLEAR}
    found = compare(on(sweep(1), 1.0, 2.0), on(sweep(2, slow=slow**4), 1.0, 1.0))
    assert Verdict.UNCLEAR not in {pair.verdict for pair in found.rows}


def test_without_controls_it_says_that_it_does_not_know() -> None:
    """As sweeps of an earlier version, or with measure.sentinels off."""
    found = compare(on(sweep(1), 1.0), sweep(2))
    assert found.machine is None
    assert "How fast the machine was is not known" in table(found)


def test_what_controls_say_of_two_sweeps() -> None:
    """Medians, and the widest that any two single ones are apart, those of one sweep either way."""
    found = machine_change(controls(1.0, 1.1, 1.0), controls(1.3, 1.2, 1.2, loop=False))
    assert found is not None
    assert set(found.ratios) == {"matmul_ms", "copy_ms"}
    assert found.ratios["copy_ms"] == pytest.approx(1.2)
    assert (found.low, found.high) == pytest.approx((1 / 1.1, 1.3))
    assert machine_change([], controls(1.0)) is None


@pytest.mark.slow
def test_a_hundred_sweeps_of_equal_code_on_a_machine_that_changes() -> None:
    """Its speed wanders by a third between sweeps and 5 % within: at most one false verdict."""
    rng = np.random.default_rng(17)
    false = 0
    for number in range(100):
        sides = []
        for _ in range(2):
            speed = float(np.exp(0.3 * rng.standard_normal()))
            seen = speed * np.exp(0.03 * rng.standard_normal(6))
            here = sweep(2 * number + len(sides), slow=speed, between=0.05, device="cpu")
            sides.append(on(here, *map(float, seen)))
        pairs = paired(
            list(zip(sides[0].rows, sides[1].rows, strict=True)),
            "cpu",
            machine=machine_change(sides[0].observations, sides[1].observations),
        )
        false += any(pair.verdict in (Verdict.FASTER, Verdict.SLOWER) for pair in pairs)
    assert false <= 1


def test_a_change_says_what_took_how_long() -> None:
    """In words."""
    change = MachineChange({"matmul_ms": 1.5, "loop_ms": 1.2}, 1.1, 1.6)
    assert str(change).startswith("a fixed matmul took 1.50 times as long, a fixed loop of the")


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (1.26, 0.0036, 439.0, "1.3, no interval"),
        (0.58, 0.016, 3.1, "0.58 [?, 3.1]"),
        (1.16, 1.152, 1.171, "1.1600 [1.1520, 1.1710]"),
    ],
)
def test_a_ratio_is_never_rounded_away_by_its_interval(
    value: float, low: float, high: float, text: str
) -> None:
    """Two digits always, and a bound that says nothing is not shown."""
    assert ratio_text(Ratio(value, low, high, 0.5)) == text


def test_rows_of_an_earlier_sweep_bring_its_controls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that measured nothing itself has none of its own; where the earlier one is gone,
    that is said.
    """
    earlier = "20261122_093000_ab12"
    slow = sweep(2, slow=1.5)
    records = [record.model_copy(update={"reused_from": earlier}) for record in slow.records]
    reused = replace(slow, records=tuple(records), observations=())

    def find(name: str) -> Path:
        if name != earlier:
            raise SweepNotFoundError(name)
        return tmp_path

    monkeypatch.setattr(machine.lookup, "find", find)
    sweep_directory.add_observations(tmp_path, list(controls(1.5, 1.48)))
    found = compare(on(sweep(1), 1.0, 1.02), reused)
    assert {pair.verdict for pair in found.rows} == {Verdict.UNCLEAR}
    earlier = "another"
    gone = compare(on(sweep(1), 1.0, 1.02), reused)
    assert {pair.verdict for pair in gone.rows} == {Verdict.SLOWER}
    assert "has rows of sweeps that are not here" in table(gone)
