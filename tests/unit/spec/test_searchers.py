"""Searchers of other packages: which are offered, and in which version."""

from __future__ import annotations

from importlib import metadata

import pytest

from orchestrator.spec import searchers
from orchestrator.spec.searchers import SEARCHERS, Strategy, refusal


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        (
            "ax",
            "1.3.1",
            "strategy ax does not work with ax-platform 1.3.1: pip install 'ax-platform==1.2.4'",
        ),
        ("ax", "1.2.4", None),
        (
            "bayesopt",
            "3.4.0",
            "strategy bayesopt does not work with bayesian-optimization 3.4.0: pip install",
        ),
        ("bayesopt", "1.4.3", None),
        ("hyperopt", "99.0", None),
    ],
)
def test_a_version_that_does_not_work_is_refused_with_the_one_that_does(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str, said: str | None
) -> None:
    """By `plan`, and not by an AttributeError once Ray has started."""
    monkeypatch.setattr(Strategy, "installed", True)
    monkeypatch.setattr(searchers.metadata, "version", lambda _: version)
    found = refusal(name)
    assert found is None if said is None else found is not None and found.startswith(said)


@pytest.mark.parametrize("name", ["bohb", "hebo"])
def test_what_cannot_work_here_is_refused_with_another(name: str) -> None:
    """Whatever is installed."""
    assert name not in SEARCHERS
    assert "use optuna" in (refusal(name) or "")


def test_a_package_that_is_missing_is_named_with_its_version() -> None:
    """To be given to pip."""
    missing = next(name for name in SEARCHERS if not SEARCHERS[name].installed)
    assert SEARCHERS[missing].packages in (refusal(missing) or "")
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version(SEARCHERS[missing].packages.partition("==")[0])
