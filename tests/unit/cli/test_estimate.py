"""What `plan` says: why that many trials, on what, and for about how long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import estimate
from orchestrator.errors import RequestError
from orchestrator.machine import environment, nvml
from orchestrator.plan.sweep import Sweep
from tests.support.golden import same_as_golden
from tests.support.sweeps import sweep, text


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores and no GPU, so that the text is the same everywhere."""
    monkeypatch.setattr(nvml, "count", lambda: 0)
    monkeypatch.setattr(estimate, "usable_cores", lambda: 2)
    assert environment.usable_cores() >= 1


FULL = {
    "name": "full",
    "implementations": "[standard, improved, multihead_standard, multihead_improved, "
    "{use: ring_v2, params: {ring_size: 4}}]",
    "axes": "{batch: [1, 2, 4], seq_len: [1024, 2048, 4096], heads: [8, 16]}",
    "constants": "{segment_lengths: [seq_len // 4, seq_len // 2, seq_len], dilation_rates: [1, 2, 4]}",
}  # fmt: skip


def test_the_plan_of_the_seeds_sweep() -> None:
    """Ninety trials, and an hour or less on two cores."""
    found = estimate.of(sweep(**FULL), "cpu")
    same_as_golden("plan.txt", found.to_text() + "\n")
    assert 90 < found.seconds < 3600


def test_the_plan_of_a_sweep_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exclusions, zipped axes, rounds, resources, one GPU of eight, and a selection."""
    monkeypatch.setattr(estimate.nvml, "count", lambda: 1)
    source = text(
        **FULL | {"axes": "{batch: [1, 2, 4], seq_len: [1024, 2048, 4096], heads: [8, 16]}"},
        zip="[[batch, seq_len]]",
        exclude="['heads == 16 and seq_len > 2048', 'batch == 99']",
        resources="{gpu_memory_gib: 8, host_memory_gib: 16, cpus: 4, timeout_s: 60}",
        measure="{repeats: 3}",
    )
    found = Sweep.parse(source, name="full.yaml")
    same_as_golden("plan_with_everything.txt", estimate.of(found, "cuda").to_text() + "\n")


def test_the_plan_as_json_is_one_object() -> None:
    """count, explanation, trials and estimate_s; strict JSON."""
    found = json.loads(json.dumps(estimate.of(sweep(), "cpu").to_json(), allow_nan=False))
    assert found["count"] == len(found["trials"]) == 8
    assert found["explanation"] == ["2 implementations x 2 batch x 2 seq_len x 1 heads = 8 trials"]
    assert found["estimate_s"] > 0
    first = found["trials"][0]
    assert {"trial_id", "implementation", "params", "resources"} <= first.keys()
    assert first["params"]["segment_lengths"] == [16, 64]
    assert first["resources"] == {
        "gpus": 0,
        "cpus": None,
        "gpu_memory_gib": None,
        "host_memory_gib": None,
        "timeout_s": 300,
        "ranks": 1,
    }


def test_a_plan_warns_of_a_gpu_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what an implementation needs, what the sweep file says, and the device that was asked for."""
    monkeypatch.setattr(estimate.nvml, "count", lambda: 0)
    for_a_gpu = Sweep.parse("# For a GPU: 20 trials of about 4 s.\n" + text(), name="x.yaml")
    assert estimate.of(for_a_gpu, "auto").warnings() == [
        "the sweep file says 'For a GPU', and this plan is for the CPU"
    ]
    assert "no GPU is here" in estimate.of(sweep(), "cuda").to_text()
    assert estimate.of(sweep(), "cpu").warnings() == []


def test_a_plan_of_many_hours_says_so() -> None:
    """And how to narrow it."""
    long = sweep(axes="{batch: [64], seq_len: [262144], heads: [64]}", measure="{repeats: 5}")
    (warning,) = estimate.of(long, "cpu").warnings()
    assert warning.startswith("hours: ")
    assert "--only" in warning


def test_the_cost_of_each_implementation_adds_up_the_longest_first() -> None:
    """--cost: where the time goes."""
    found = estimate.of(sweep(axes="{batch: [1], seq_len: [64, 4096], heads: [4]}"), "cpu")
    lines = found.costs().splitlines()
    assert {line.split()[0] for line in lines[2:4]} == {"standard", "improved"}
    assert "seq_len=4096" in lines[lines.index("Longest:") + 1]


def test_more_slots_take_less_time_and_more_rounds_take_more() -> None:
    """As many slots as GPUs, or as max_concurrent asks."""
    once = estimate.of(sweep(), "cpu").seconds
    assert estimate.of(sweep(measure="{repeats: 2}"), "cpu").seconds > 1.5 * (
        once - estimate.STARTUP_S
    )
    assert estimate.of(sweep(max_concurrent="2"), "cpu").seconds < once


def test_the_device_is_the_one_asked_for_or_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """auto: CUDA where NVML counts a GPU."""
    assert estimate.of(sweep()).device == "cpu"
    monkeypatch.setattr(nvml, "count", lambda: 4)
    found = estimate.of(
        sweep(constants="{segment_lengths: [64], dilation_rates: [1], world_size: 2}")
    )
    assert (found.device, found.slots) == ("cuda", 2)
    assert {resources.gpus for resources in found.resources.values()} == {2}


@pytest.mark.parametrize("formula", ["work", "gpus"])
def test_a_users_formula_that_fails_is_a_bad_request(tmp_path: Path, formula: str) -> None:
    """It is named, with the point at which it failed."""
    (tmp_path / "work.py").write_text(
        "from dataclasses import replace\nfrom tests.support.toy_workload import toy\n"
        f"WORKLOAD = replace(toy, {formula}=lambda *_: 1 // 0)\n"
    )
    source = text(
        workload="./work.py:WORKLOAD", implementations="['./work.py:WORKLOAD']", constants="{}"
    )
    found = Sweep.parse(source, base_dir=tmp_path)
    with pytest.raises(
        RequestError,
        match=rf"workload toy: {formula}\(\) fails with ZeroDivisionError: .*'batch': 1",
    ):
        estimate.of(found, "cuda")


def test_the_plan_of_a_frontier_says_how_many_probes() -> None:
    """At least one per cell; at most what doubling and bisection may need."""
    axes = "{batch: [1], heads: [4, 8], seq_len: {low: 64, high: 4096, step: 64}}"
    found = estimate.of(sweep(axes=axes, frontier="{axis: seq_len}", constants=ONE_SEGMENT), "cpu")
    assert "4 to 48 trials of dilated_attention on cpu" in found.to_text()
    assert (
        "frontier of seq_len in 4 cells, by doubling and bisection: at least 4 and at most 48"
        in found.to_text()
    )
    described = found.to_json()
    assert (described["count"], described["at_least"], described["at_most"]) == (48, 4, 48)
    assert (
        described["estimate_s"]
        < estimate.of(sweep(axes=axes, constants=ONE_SEGMENT), "cpu").seconds
    )


def test_the_plan_of_a_search_says_how_many_samples() -> None:
    """Without importing what searches, or anything heavy."""
    axes = "{batch: [1], heads: [4, 8], seq_len: [64], options.block: {low: 16, high: 256}}"
    found = estimate.of(sweep(axes=axes, search="{strategy: optuna, samples: 7}"), "cpu").to_text()
    assert "tiny: 4 to 28 trials of dilated_attention on cpu" in found
    assert "2 implementations x 1 batch x 2 heads x 1 seq_len = 4 searches" in found
    assert "optuna over options.block (16 to 256): at most 7 of 241 points each" in found


@pytest.mark.slow
def test_searches_and_frontiers_are_planned_without_the_heavy_libraries(
    tmp_path: Path, bare_python
) -> None:
    """`plan` works where torch, ray and mlflow cannot be imported."""
    axes = "{batch: [1], heads: [4], seq_len: [64, 128], options.block: [16, 32]}"
    for number, asked in enumerate(
        ({"search": "{strategy: optuna}"}, {"frontier": "{axis: seq_len}"})
    ):
        (tmp_path / f"{number}.yaml").write_text(text(axes=axes, **asked))
        answer = bare_python("plan", tmp_path / f"{number}.yaml", "--device", "cpu")
        assert answer.code == 0, answer.err


ONE_SEGMENT = "{segment_lengths: [64], dilation_rates: [1]}"


def test_the_machine_is_asked_once_however_many_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cores are read from files of the kernel: ten thousand times that would take seconds."""
    asked: list[int] = []

    def cores() -> int:
        asked.append(1)
        return 2

    monkeypatch.setattr(estimate, "usable_cores", cores)
    counts = []
    for heads in ("[8]", "[2, 4, 8, 16]"):
        asked.clear()
        estimate.of(sweep(axes=f"{{batch: [1], seq_len: [1024], heads: {heads}}}"), "cpu")
        counts.append(len(asked))
    assert counts[0] == counts[1]
