"""Every searcher of Ray Tune that a sweep file may name proposes what it may, to the last sample.

Those that are not installed are left out; `make searchers` has them all, in the versions that work.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.search import tune
from orchestrator.search.tune import TuneSampler
from orchestrator.spec.axes import Range
from orchestrator.spec.models import SearchSpec
from orchestrator.spec.search_space import Coordinate, Dimension, Space
from orchestrator.spec.searchers import SEARCHERS, refusal

SAMPLES = 7
# Asked one at a time ZOOpt proposes nothing more after six points; a sweep says that and why it ends.
MOST = {"zoopt": 6}
SPACES = {
    "integer": [Dimension("n", Range(low=16, high=256, step=16))],
    "log": [
        Dimension("x", Range(low=1e-3, high=10.0, log=True)),
        Dimension("k", Range(low=1, high=4096, log=True)),
    ],
    "categorical": [Dimension("c", ["a", "b", "c", "d"]), Dimension("l", [[1, 2], [3, 4]])],
    "small": [Dimension("n", [1, 2, 3])],
}
INSTALLED = [
    pytest.param(
        name,
        marks=[] if known.installed else [pytest.mark.skip(reason=f"{name} is not installed")],
    )
    for name, known in SEARCHERS.items()
]


def proposals(strategy: str, space: str, troubled: bool = False) -> list[dict[str, Coordinate]]:
    """What it proposes while it is told a value for each; `troubled`: some are bad or have none."""
    spec = SearchSpec(strategy=strategy, samples=SAMPLES)
    sampler = TuneSampler(spec, Space(tuple(SPACES[space])), 3)
    made: list[dict[str, Coordinate]] = []
    for number in range(SAMPLES):
        found = sampler.ask(str(number))
        if found is None:
            break
        made.append(dict(found))
        if troubled and number in (0, 5):
            sampler.withdraw(str(number))
        elif troubled and number == 3:
            sampler.tell(str(number), 1e9)
        else:
            sampler.tell(str(number), sum(math.log1p(value) for value in found.values()))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("strategy", INSTALLED)
def test_a_searcher_proposes_the_same_for_a_seed_and_goes_on_after_bad_trials(
    strategy: str, space: str
) -> None:
    """Points of the space; where it has few, it may end once it proposed all of them."""
    first = proposals(strategy, space)
    assert first == proposals(strategy, space)
    dimensions = SPACES[space]
    for point in first:
        for dimension in dimensions:
            dimension.value(point[dimension.name])  # it lies in the space
    few = space == "small"
    wanted = 3 if few else MOST.get(strategy, SAMPLES)
    assert len(first) >= wanted
    assert len(proposals(strategy, space, troubled=True)) >= wanted


class WaitsForValues:
    """Proposes a few points, and none more before it was told a value of each."""

    def __init__(self) -> None:
        self.proposed = 0
        self.told: list[float] = []

    def set_search_properties(self, *_: Any) -> None:
        """Everything is fine with it."""

    def suggest(self, token: str) -> dict[str, float] | None:
        """A point; None: a value is missing."""
        if self.proposed >= 3 and len(self.told) < self.proposed:
            return None
        self.proposed += 1
        return {"d0": 0.5}

    def on_trial_complete(
        self, token: str, result: dict[str, float] | None = None, error: bool = False
    ) -> None:
        """A failed trial is forgotten."""
        if result is not None:
            self.told.append(result["latency_ms"])


def test_a_searcher_that_waits_for_values_goes_on_after_a_withdrawn_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told the median of the values so far; before the first value, that value."""
    fake = WaitsForValues()
    monkeypatch.setattr(tune, "_searcher", lambda *_: fake)
    space = Space((Dimension("n", Range(low=16, high=256, step=16)),))
    sampler = TuneSampler(SearchSpec(strategy="bayesopt", samples=9), space, 0)
    for number in range(9):
        assert sampler.ask(str(number)) is not None
        if number in (0, 4):
            sampler.withdraw(str(number))
        else:
            sampler.tell(str(number), float(number))
    assert fake.told == [1.0, 1.0, 2.0, 3.0, 2.0, 5.0, 6.0, 7.0, 8.0]


def test_a_version_that_ray_s_searcher_does_not_work_with_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the version that works."""
    monkeypatch.setattr("orchestrator.spec.searchers.find_spec", lambda _: object())
    versions = {"bayesian-optimization": "3.4.0", "ax-platform": "1.3.1"}
    monkeypatch.setattr("orchestrator.spec.searchers.metadata.version", versions.__getitem__)
    assert refusal("bayesopt") == (
        "strategy bayesopt does not work with bayesian-optimization 3.4.0: "
        "pip install 'bayesian-optimization==1.5.1'"
    )
    assert "pip install 'ax-platform==1.2.4'" in str(refusal("ax"))
    versions |= {"bayesian-optimization": "1.5.1", "ax-platform": "1.2.4"}
    assert (refusal("bayesopt"), refusal("ax")) == (None, None)


def test_a_space_in_which_every_point_was_proposed_is_an_end_and_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ax raises an exception of its own there; any other exception is one."""
    exhausted = type("SearchSpaceExhausted", (Exception,), {})  # named like Ax's

    class Exhausted(WaitsForValues):
        error: Exception = exhausted("no new points left")

        def suggest(self, token: str) -> dict[str, float] | None:
            """There is nothing left."""
            raise self.error

    fake = Exhausted()
    monkeypatch.setattr(tune, "_searcher", lambda *_: fake)
    space = Space((Dimension("n", [1, 2, 3]),))
    sampler = TuneSampler(SearchSpec(strategy="ax", samples=9), space, 0)
    assert sampler.ask("0") is None
    fake.error = KeyError("n")
    with pytest.raises(KeyError):
        sampler.ask("1")
