"""Attempts on the tiny workload in matmul.py and on attention, for the tests of what happens in a
trial's process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.plan.sweep import Sweep
from orchestrator.record import TrialRecord
from orchestrator.spec.models import MeasureProtocol, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial
from orchestrator.worker.run_attempt import OnPhase, run_attempt

HERE = Path(__file__).parent
BRIEF = MeasureProtocol(warmup_s=0, min_time_s=0, max_time_s=0.02, min_repetitions=3, target_ci=0.9)


def attempt(
    name: str,
    *,
    options: dict[str, Any] | None = None,
    use: str | None = None,
    workload: str = "matmul.py:WORKLOAD",
    base_dir: Path = HERE,
    **fields: Any,
) -> Attempt:
    """An attempt of the implementation `name`; `fields` are fields of the attempt, or else params."""
    own = {key: fields.pop(key) for key in list(fields) if key in Attempt.model_fields}
    params = {
        "batch": 2,
        "rows": 16,
        "inner": 8,
        "width": 8,
        "dtype": "float32",
        "direction": "forward",
        **fields,
    }
    trial = Trial.of(
        implementation=name, use=use or f"matmul.py:{name}", params=params, options=options or {}
    )
    return _attempt(trial, workload=workload, base_dir=str(base_dir), **own)


def recorded(attempt: Attempt, on_phase: OnPhase = lambda _phase: None) -> TrialRecord:
    """The record of an attempt made in this process."""
    return run_attempt(attempt, on_phase).record


def attention_attempt(name: str, **params: Any) -> Attempt:
    """An attempt of attention_cheats.`name` at one small shape: 3 heads, one segment of 64
    positions at rate 1.
    """
    shape = {
        "batch": 2,
        "seq_len": 64,
        "heads": 3,
        "head_dim": 16,
        "segment_lengths": [64],
        "dilation_rates": [1],
    }
    use = f"attention_cheats.py:{name}"
    trial = Trial.of(implementation=name, use=use, params={**shape, **params}, options={})
    return _attempt(trial, workload="dilated_attention")


def _attempt(trial: Trial, **own: Any) -> Attempt:
    return Attempt(
        **{
            "sweep_id": "sweep",
            "trial": trial,
            "base_dir": str(HERE),
            "device": "cpu",
            "seed": 7,
            "protocol": BRIEF,
            "verify": VerifySpec(),
            "resources": Resources(cpus=1),
            **own,
        }
    )


def attempts_of(sweep: Sweep) -> list[Attempt]:
    """The first attempt of each trial of a sweep, timed as shortly as can be."""
    return [
        _attempt(trial, workload=sweep.spec.workload, base_dir=sweep.base_dir)
        for trial in sweep.trials
    ]
