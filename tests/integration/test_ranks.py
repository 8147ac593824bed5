"""Trials over ranks: real processes with gloo, ended together, timed together, verified as one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.isolation.isolator import Completed, Isolator
from orchestrator.outcome import Outcome
from orchestrator.spec.models import MeasureProtocol, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

ROOT = Path(__file__).parents[2]
TOYS = Path(__file__).parent / "toys" / "ranks.py"
EXAMPLE = ROOT / "docs" / "examples" / "row_parallel.py"
BRIEF = MeasureProtocol(warmup_s=0, min_time_s=0, max_time_s=0.2, min_repetitions=3, target_ci=0.9)
LATE_MS = 100.0  # of the toys


@pytest.fixture(scope="module")
def isolator() -> Iterator[Isolator]:
    with Isolator() as made:
        yield made


def attempt(
    use: str, workload: str, params: dict[str, Any], ranks: int = 2, seed: int = 0, **resources: Any
) -> Attempt:
    return Attempt(
        sweep_id="s",
        trial=Trial.of(implementation="mine", use=use, params=params, options={}),
        workload=workload,
        base_dir=str(ROOT),
        device="cpu",
        seed=seed,
        protocol=BRIEF,
        verify=VerifySpec(),
        resources=Resources(**{"ranks": ranks, "cpus": 2, "timeout_s": 90.0, **resources}),
    )


def toy(name: str, *, ranks: int = 2, backward: bool = False, **resources: Any) -> Attempt:
    params = {"world_size": ranks, "dtype": "float32", "backward": backward}
    return attempt(f"{TOYS}:{name}", f"{TOYS}:WORKLOAD", params, ranks, **resources)


def example(name: str, ranks: int = 2) -> Attempt:
    params = {"rows": 8, "inner": 24, "width": 8, "dtype": "float32", "world_size": ranks}
    return attempt(f"{EXAMPLE}:{name}", f"{EXAMPLE}:WORKLOAD", params, ranks)


def said(done: Completed) -> str:
    return f"{done.record.outcome}: {done.record.error}\n{done.log.decode()}"


@pytest.mark.parametrize("ranks", [2, 3])
def test_shards_of_every_rank_are_verified_against_the_whole(isolator, ranks):
    """An all-reduce; with figures of all ranks, and bytes as a ring sends them."""
    done = isolator.run(example("all_reduce", ranks))
    assert done.record.outcome is Outcome.OK, said(done)
    metrics = done.record.metrics
    assert metrics["sent_bytes_per_rank"] == pytest.approx(8 * 8 * 4 * 2 * (ranks - 1) / ranks)
    assert metrics["fastest_rank_ms"] > 0
    assert metrics["rank_skew_ms"] >= 0
    assert metrics["peak_memory_mib"] is not None


@pytest.mark.parametrize(
    "attempted",
    [
        example("forgets_a_rank"),
        toy("wrong_on_one_rank"),
        toy("adds_no_gradient_up", backward=True),
        toy("remembers"),
    ],
    ids=["forgets a rank", "wrong on one rank", "adds no gradient up", "remembers"],
)
def test_what_one_rank_gets_wrong_is_a_mismatch(isolator, attempted):
    """Whichever rank it is; also in the gradient of an input that every rank has whole."""
    done = isolator.run(attempted)
    assert done.record.outcome is Outcome.MISMATCH, said(done)


@pytest.mark.parametrize("backward", [False, True])
def test_a_right_one_is_ok_with_gradients_too(isolator, backward):
    """The gradient of the whole output is handed out as `gather` passes gradients back."""
    done = isolator.run(toy("right", backward=backward))
    assert done.record.outcome is Outcome.OK, said(done)


def test_ring_v2_over_ranks_is_right_in_a_trial(isolator):
    """Causal, forward and backward, both kinds of mixing."""
    for mixing in ("head_groups", "lse"):
        params = {
            "batch": 1, "seq_len": 64, "heads": 3, "head_dim": 8, "segment_lengths": [16, 32, 64],
            "dilation_rates": [1, 2, 3], "causal": True, "mixing": mixing, "world_size": 2,
            "direction": "forward_backward",
        }  # fmt: skip
        done = isolator.run(attempt("ring_v2", "dilated_attention", params))
        assert done.record.outcome is Outcome.OK, said(done)


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("raises", Outcome.FAILED, "rank 1 of 2: boom"),
        ("dies", Outcome.CRASHED, "rank 1 of 2: the process died by SIGSEGV"),
        ("exits", Outcome.CRASHED, "rank 1 of 2: the process exited with code 0"),
        ("unsupported", Outcome.UNSUPPORTED, "not over ranks"),
        ("lingers", Outcome.CRASHED, "rank 1 of 2: the process died by SIGSEGV"),
    ],
)
def test_a_rank_that_ends_badly_ends_the_attempt_with_its_reason(
    isolator, name, outcome, reason, tmp_path, monkeypatch
):
    """Nothing of any rank is left, no process and no file, and the next attempt is right."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(isolator.processes())
    done = isolator.run(toy(name))
    assert (done.record.outcome, reason in done.record.error.message) == (outcome, True), said(done)
    assert done.left_alive == ()
    assert set(isolator.processes()) <= before
    assert list(tmp_path.iterdir()) == []
    assert isolator.run(toy("right")).record.outcome is Outcome.OK


def test_a_rank_that_hangs_is_named(isolator):
    """The other waits for it in a collective; the stacks of both are in the log."""
    done = isolator.run(toy("hangs", timeout_s=16.0))
    assert done.record.outcome is Outcome.TIMEOUT, said(done)
    assert done.record.error.message.startswith("rank 1 of 2: it took longer"), said(done)
    assert b"== rank 1 of 2 ==" in done.log


def test_memory_of_all_ranks_counts(isolator):
    """One that eats it ends the attempt as out of memory."""
    done = isolator.run(toy("eats", host_memory_gib=1.5))
    assert done.record.outcome is Outcome.OOM, said(done)


def test_each_rank_knows_who_it_is(isolator):
    """By the config, and by the variables that torchrun sets."""
    log = isolator.run(toy("tells_its_rank", ranks=3)).log.decode()
    for rank in range(3):
        assert f"I am {rank} of 3, {rank} of 3" in log


def test_a_rank_that_enters_late_lengthens_nobodys_figure(isolator):
    """It is waited for before the block: the others' time within a collective does not count its
    delay.
    """
    done = isolator.run(toy("enters_late"))
    assert done.record.outcome is Outcome.OK, said(done)
    assert done.record.metrics["latency_ms"] < LATE_MS


def test_a_rank_that_works_longer_lengthens_the_figure(isolator):
    """Where the others wait for it all take as long; where they do not, the slowest is the figure
    and skew tells.
    """
    together = isolator.run(toy("works_longer")).record.metrics
    alone = isolator.run(toy("works_longer_alone")).record.metrics
    assert together["latency_ms"] >= LATE_MS
    assert together["fastest_rank_ms"] >= 0.9 * LATE_MS
    assert alone["latency_ms"] >= LATE_MS
    assert alone["fastest_rank_ms"] < LATE_MS
    assert alone["rank_skew_ms"] > 0
