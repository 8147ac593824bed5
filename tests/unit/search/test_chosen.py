"""What a search chose is written for implementations, and given to each at its own point."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.chosen import chosen
from orchestrator.cli import estimate
from orchestrator.errors import RequestError
from orchestrator.outcome import Outcome
from orchestrator.results import choices
from orchestrator.trial import Trial
from orchestrator.workload import Config
from tests.support.driven import Driven, End
from tests.support.sweeps import sweep


def by_block(trial: Trial) -> End:
    """Best at a block of a tenth of seq_len."""
    return Outcome.OK, 1.0 + abs(trial.options["block"] - trial.params["seq_len"] // 10)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The file of a search over two lengths and two implementations."""
    axes = "{batch: [1], seq_len: [40, 80], heads: [4], options.block: [2, 4, 6, 8]}"
    found = sweep(
        axes=axes, implementations="[improved, standard]", search="{strategy: random, samples: 4}"
    )
    file = tmp_path / "best.json"
    assert choices.write(Driven(found).drive(by_block).results(), str(file)) == 0
    return file


def test_each_point_has_its_own_choice(written: Path) -> None:
    """By params, or by the config that a build function is given; lists there are tuples."""
    held = json.loads(written.read_text())["choices"]
    points = {one["params"]["seq_len"]: one["params"] for one in held}
    for seq_len, block in ((40, 4), (80, 8)):
        point = points[seq_len]
        assert chosen(written, point, "improved") == {"block": block}
        given = {name: value for name, value in point.items() if name != "device"}
        assert chosen(written, Config(given, "cpu"), "improved") == {"block": block}


def test_a_point_that_was_not_searched_has_none(written: Path) -> None:
    """The implementation is as it is shipped there."""
    assert chosen(written, {"seq_len": 160}, "improved") == {}


def test_a_point_without_a_searched_sweep_s_param_has_none(written: Path) -> None:
    """It is not known to be the point that was searched; the name of a case is no param."""
    held = json.loads(written.read_text())
    point = held["choices"][0]["params"]
    for name in point:
        fewer = {other: value for other, value in point.items() if other != name}
        assert chosen(written, fewer, "improved") == {}, name
        assert chosen(written, Config(fewer, "cpu"), "improved") == {}, name
    for one in held["choices"]:
        one["params"]["name"] = "a case"
    written.write_text(json.dumps(held))
    assert chosen(written, point, "improved") == {"block": point["seq_len"] // 10}
    assert chosen(written, {**point, "name": "another"}, "improved") == {}


def test_of_several_implementations_one_must_be_named(written: Path) -> None:
    """Their options mean different things."""
    with pytest.raises(ValueError, match="improved, standard: name the implementation"):
        chosen(written, {"seq_len": 40})


@pytest.mark.parametrize("text", ["{}", "[1]", "x", '{"format": 2, "choices": []}'])
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """It says what is expected there."""
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is not what `run --export` writes"):
        chosen(tmp_path / "other.json", {})


def test_a_search_that_found_nothing_is_counted_and_left_out(tmp_path: Path) -> None:
    """Nobody should use what failed."""
    axes = "{batch: [1], seq_len: [40, 80], heads: [4], options.block: [2, 4]}"
    found = sweep(axes=axes, implementations="[improved]", search="{strategy: random, samples: 2}")

    def ends(trial: Trial) -> End:
        return (Outcome.OOM, 1.0) if trial.params["seq_len"] == 80 else by_block(trial)

    file = tmp_path / "best.json"
    assert choices.write(Driven(found).drive(ends).results(), str(file)) == 1
    assert len(json.loads(file.read_text())["choices"]) == 1


def test_a_grid_chooses_nothing(tmp_path: Path) -> None:
    """And is told so before it runs."""
    with pytest.raises(RequestError, match="--export"):
        choices.refuse_other_than_search(sweep().spec)


def test_plan_says_what_screening_and_a_budget_cost() -> None:
    """Screened candidates cost less than by themselves, and a budget bounds them."""
    axes = "{batch: [1], seq_len: [64], heads: [4], options.block: {low: 1, high: 10000}}"

    def planned(how: str) -> estimate.Estimate:
        fields = {"implementations": "[improved]", "measure": "{min_time_s: 2, max_time_s: 5}"}
        return estimate.of(sweep(axes=axes, search=f"{{{how}}}", **fields), "cpu")

    plain = planned("strategy: random, samples: 500")
    screened = planned("strategy: random, samples: 500, screen: true")
    bounded = planned("strategy: random, samples: 500, screen: true, budget_s: 5")
    assert bounded.seconds < screened.seconds < plain.seconds
    assert "measured by themselves" in screened.to_text()
    assert "for at most 5 s" in bounded.to_text()
    assert "after 9 s" in planned("strategy: random, budget_s: 9").to_text()
