"""Results made by hand, for the reports' tests: every figure follows from the shape by arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.machine.observation import Observation
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, Fingerprint, TrialRecord
from orchestrator.results.columns import shown_by
from orchestrator.results.meta import SweepMeta
from orchestrator.results.results import Results
from orchestrator.spec.models import SweepSpec
from orchestrator.trial import Trial
from tests.support.toy_workload import toy

HERE = Path(__file__).parent
SWEEP_ID = "20261122_093000_a1b2"
ENVIRONMENT = {
    "match": {"device": "cuda", "model": "NVIDIA H100 80GB HBM3", "torch": "2.11.0"},
    "know": {"host": "node-1", "os": "Linux"},
}
AXES: dict[str, list[Any]] = {"batch": [1, 2], "seq_len": [1024, 2048], "heads": [8]}
SPEED = {"standard": 1.0, "improved": 2.5}


def trials(
    implementations: Sequence[str], axes: Mapping[str, Sequence[Any]], **constants: Any
) -> list[Trial]:
    """The product, implementation outermost."""
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return [_trial(name, {**point, **constants}) for name in implementations for point in points]


def _trial(name: str, values: Mapping[str, Any]) -> Trial:
    options = {
        key.removeprefix("options."): value
        for key, value in values.items()
        if key.startswith("options.")
    }
    params = {key: value for key, value in values.items() if not key.startswith("options.")}
    return Trial.of(implementation=name, use=name, params=params, options=options)


def ok(
    trial: Trial, *, flags: tuple[str, ...] = (), scale: float = 1.0, **more: Any
) -> TrialRecord:
    """A record that is ok: latency from the shape, 1 % of interval, nine repetitions."""
    params = trial.params
    tokens = params["batch"] * params["seq_len"]
    latency = scale * tokens * params["heads"] / 8192 / SPEED.get(trial.implementation, 1.5)
    metrics = {
        "latency_ms": latency,
        "latency_ci_low_ms": 0.99 * latency,
        "latency_ci_high_ms": 1.01 * latency,
        "noise_pct": 0.8,
        "peak_memory_mib": tokens * params["heads"] / 512,
        "throughput_tokens_per_s": 1000 * tokens / latency,
        "tflops_per_s": 12.5 * SPEED.get(trial.implementation, 1.5) / scale,
        "relative_error": 3.2e-7,
    }
    values = tuple(latency * (0.98 + 0.005 * step) for step in range(9))
    return record(
        trial, Outcome.OK, phase=Phase.DONE, flags=flags, metrics=metrics, values_ms=values, **more
    )


def bad(
    trial: Trial, outcome: Outcome, kind: str = "RuntimeError", message: str = "", **more: Any
) -> TrialRecord:
    """A record that is not ok."""
    error = ErrorInfo.of(kind, message or f"it ended as {outcome}", f"logs/{trial.trial_id}.log")
    return record(trial, outcome, phase=Phase.FIRST_CALL, error=error, **more)


def record(trial: Trial, outcome: Outcome, **more: Any) -> TrialRecord:
    """A record of `trial` at a fixed time, on a fixed machine."""
    fixed = {
        "sweep_id": SWEEP_ID,
        "trial_id": trial.trial_id,
        "implementation": trial.implementation,
        "params": trial.params,
        "options": trial.options,
        "outcome": outcome,
        "fingerprint": Fingerprint(source="s" * 16, environment="e" * 16, protocol="p" * 16),
        "started_at": "2026-11-22T09:30:00+00:00",
        "finished_at": "2026-11-22T09:42:10+00:00",
        "host": "node-1",
        "device": "cuda:0",
    }
    return TrialRecord(**{**fixed, **more})


def peaks(copy: float = 3e12, **matmul: float) -> Observation:
    """What a device was seen to do: FLOP/s by precision, and bytes copied per second."""
    values = {
        "device": "cuda",
        "matmul_flops_per_s": matmul,
        "copy_bytes_per_s": copy,
        "cache_bytes": 50 * 2**20,
    }
    return Observation(
        kind="ceilings", at="2026-11-22T09:30:00+00:00", host="node-1", values=values
    )


def results(
    planned: Sequence[Trial],
    records: Sequence[TrialRecord],
    *,
    axes: Mapping[str, Sequence[Any]] = AXES,
    directory: Path | None = None,
    **spec: Any,
) -> Results:
    """The results of a sweep named `full` on one GPU."""
    stated = {
        "name": "full",
        "workload": "toy_workload.py:toy",
        "implementations": tuple(dict.fromkeys(trial.implementation for trial in planned)),
        "axes": {name: list(values) for name, values in axes.items()},
        "constants": {
            "dtype": "float32",
            "segment_lengths": ["seq_len // 4", "seq_len // 2", "seq_len"],
        },
        **spec,
    }
    meta = SweepMeta(
        sweep_id=SWEEP_ID,
        name="full",
        created_at="2026-11-22T09:30:00+00:00",
        base_dir=str(HERE),
        device="cuda",
        spec=SweepSpec.model_validate(stated),
        planned=tuple(planned),
        shown=shown_by(toy, stated["constants"]),
    )
    return Results(meta, tuple(records), {"e" * 16: ENVIRONMENT}, directory)
