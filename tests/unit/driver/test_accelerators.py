"""A sweep that measures on each model of accelerator (`per_accelerator`), without a cluster."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator import api
from orchestrator.compare import duel
from orchestrator.driver.attempts import input_seed
from orchestrator.errors import RequestError, SweepFileError
from orchestrator.executors.inline import InlineExecutor
from orchestrator.outcome import Outcome, Phase
from orchestrator.plan.sweep import Sweep
from orchestrator.record import TrialRecord, record_of
from orchestrator.report import render
from orchestrator.trackers.in_memory import MemoryTracker
from orchestrator.trial import Attempt
from tests.support.sweeps import TOYS

TEXT = f"""\
name: unlike
workload: {TOYS}/matmul.py:WORKLOAD
implementations: ['{TOYS}/matmul.py:right', '{TOYS}/matmul.py:raises']
axes: {{n: [16, 32]}}
resources: {{per_accelerator: true}}
"""
HERE = {"device": "cpu"}


class Cluster(InlineExecutor):
    """An executor whose nodes have models; it measures nothing, and keeps what it was given."""

    def __init__(self, *models: str) -> None:
        super().__init__(self.measured, {"match": HERE, "know": {}})
        self.models = models
        self.made: list[Attempt] = []

    @property
    def accelerators(self) -> Sequence[str]:
        return self.models

    def measured(self, attempt: Attempt, _on_phase: object) -> TrialRecord:
        """The newer model takes half the time."""
        self.made.append(attempt)
        latency = 1.0 if attempt.trial.params["accelerator"] == "A100" else 0.5
        interval = {"latency_ci_low_ms": 0.99 * latency, "latency_ci_high_ms": 1.01 * latency}
        return record_of(
            attempt,
            Outcome.OK,
            Phase.DONE,
            "",
            HERE,
            metrics={"latency_ms": latency, **interval},
            values_ms=(latency,),
            environment={"match": HERE, "know": {}},
        )


def run(folder: Path, cluster: Cluster, **asked: object) -> api.Results:
    """The sweep on a cluster, into `out`."""
    return api.run(
        Sweep.parse(TEXT, folder),
        output=folder / "out",
        executor=lambda _: cluster,
        tracker=MemoryTracker,
        **asked,  # type: ignore[arg-type]
    )


def models(results: api.Results) -> list[object]:
    """The model of each row."""
    return [row.params["accelerator"] for row in results.rows]


def test_each_trial_is_a_row_for_each_model(tmp_path: Path) -> None:
    """With an id of its own, the model as a column of every report, and on the same inputs."""
    cluster = Cluster("A100", "H200")
    found = run(tmp_path, cluster)
    assert models(found) == ["A100", "H200"] * 4
    assert len({row.trial_id for row in found.rows}) == 8
    rows = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    times = [(row["accelerator"], row["latency_ms"]) for row in rows]
    assert times == [("A100", "1.0"), ("H200", "0.5")] * 4
    assert "| Accelerator |" in render(found, "md")
    seeds = {(one.trial.params["n"], one.seed) for one in cluster.made}
    assert len(seeds) == 2


def test_rows_are_ranked_within_a_model(tmp_path: Path) -> None:
    """That the newer one is faster makes no implementation the winner."""
    table = render(run(tmp_path, Cluster("A100", "H200")), "md")
    assert "Too close to call: all 4 shapes" in table


def test_a_workload_does_not_see_the_model(tmp_path: Path) -> None:
    """Its params are what the file says."""
    sweep = Sweep.parse(TEXT, tmp_path)
    each = sweep.on_each(["A100"])
    assert each.trials[0].params == {**sweep.trials[0].params, "accelerator": "A100"}
    assert each.params(each.trials[0]) == sweep.params(sweep.trials[0])
    there, elsewhere, nowhere = each.trials[0], sweep.trials[0].on("H200"), sweep.trials[0]
    assert len({input_seed(each.spec, trial, 1) for trial in (there, elsewhere, nowhere)}) == 1


def test_resume_goes_on_with_the_models_of_the_sweep(tmp_path: Path) -> None:
    """One that has come since is added; one that is gone is named, and nothing is run."""
    run(tmp_path, Cluster("H200"))
    more = Cluster("A100", "H200")
    assert models(run(tmp_path, more, resume=True)) == ["H200", "A100"] * 4
    assert {one.trial.params["accelerator"] for one in more.made} == {"A100"}
    less = Cluster("A100")
    with pytest.raises(RequestError, match="measures on H200, A100, and no node has H200 now"):
        run(tmp_path, less, resume=True)
    assert less.made == []


def test_rows_of_one_model_are_run_again_by_an_expression(tmp_path: Path) -> None:
    """The model is a name in it."""
    run(tmp_path, Cluster("A100", "H200"))
    again = Cluster("A100", "H200")
    run(tmp_path, again, rerun="accelerator == 'A100' and n == 32")
    assert [one.trial.params["accelerator"] for one in again.made] == ["A100", "A100"]


def test_a_complete_sweep_needs_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its models are known from its rows."""
    run(tmp_path, Cluster("A100", "H200"))
    monkeypatch.setattr(api, "ray_executor", lambda *_: pytest.fail("Ray was started"))
    assert models(api.resume(str(tmp_path / "out"))) == ["A100", "H200"] * 4


def test_a_plan_says_that_models_multiply_it(tmp_path: Path) -> None:
    """As many trials on each, which are not more than max_trials in all."""
    sweep = Sweep.parse(f"{TEXT}max_trials: 7\n", tmp_path)
    assert sweep.plan.explain()[-1].startswith("so many on each model of accelerator")
    with pytest.raises(RequestError, match=r"4 trials on each of 2 models .* max_trials \(7\)"):
        sweep.on_each(["A100", "H200"])


def test_a_paired_comparison_is_on_one_model(tmp_path: Path) -> None:
    """Its processes hold both implementations, on one card."""
    with pytest.raises(RequestError, match=r"choose it by resources\.accelerator"):
        duel.prepare(Sweep.parse(TEXT, tmp_path), "matmul:right", "matmul:raises")


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ("resources: {per_accelerator: true, accelerator: H200}\n", "keep one of them"),
        ("reuse: true\n", "does not go with reuse"),
        ("search: {strategy: random, samples: 2}\n", "goes with a grid"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, more: str, rule: str) -> None:
    """Before anything starts, by field and rule."""
    text = TEXT
    if more.startswith("resources"):
        text = TEXT[: TEXT.index("resources")]
    if more.startswith("search"):
        text = text.replace("[16, 32]", "{low: 16, high: 32}")
    with pytest.raises(SweepFileError, match=rf"resources.per_accelerator.*{rule}"):
        Sweep.parse(text + more, tmp_path)
