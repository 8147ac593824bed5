"""Useful work per second of a measurement, and whether a device can be that fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.machine.ceilings import Ceilings
from orchestrator.measure.memory import Figures
from orchestrator.outcome import Outcome
from orchestrator.trial import Attempt
from orchestrator.usercode.implementation import AttemptEndedError, in_brief
from orchestrator.usercode.workload_file import FileWorkload
from orchestrator.verify.caller import Caller
from orchestrator.worker.calls import FirstCall
from orchestrator.workload import Config, Work

COUNTED = (
    "the work is counted, not stated: bytes of all inputs and outputs, FLOPs of the reference's "
    "products; plausibility was not judged"
)
ONLY_BYTES = (
    "the work is counted, not stated: bytes of all inputs and outputs; FLOPs were not counted, for "
    "the reference, called as torch counts, raised {error}; plausibility was not judged"
)


@dataclass(frozen=True)
class Rates:
    """The rates of one measurement.

    Attributes:
        figures: by name.
        notes: which check of plausibility could not be made.
    """

    figures: Figures
    notes: tuple[str, ...] = ()


def counted_work(
    workload: FileWorkload, config: Config, caller: Caller, first: FirstCall
) -> tuple[Work, str]:
    """The work of one call, where the workload states none; and a note that says how it was found.

    A reference that raises here was verified against all the same, in float64, with other inputs or
    in host memory: that costs the FLOPs, never the row.

    Args:
        workload: whose reference is called.
        config: that the implementation was built with.
        caller: of the implementation.
        first: its first call, for the bytes where FLOPs cannot be counted.
    """
    try:
        return workload.calls.counted_work(config, caller.inputs("work")), COUNTED
    except Exception as error:  # noqa: BLE001 - whatever a user's reference raises
        return bytes_alone(first), ONLY_BYTES.format(error=in_brief(error))


def bytes_alone(first: FirstCall) -> Work:
    """The bytes of the inputs and outputs of a first call, as work without FLOPs."""
    return Work(flops=0.0, bytes=float(first.bytes_in + first.bytes_out))


def rates(
    work: Work,
    seconds: float,
    ceilings: dict[str, Any] | None,
    precision: str,
    gpus: int,
    measure_again: Callable[[], Ceilings],
) -> Rates:
    """What work of one call that lasts `seconds` comes to.

    Args:
        work: of one call.
        seconds: of the median call.
        ceilings: what the device was seen to do; None: not measured.
        precision: whose ceilings bound the work.
        gpus: how many GPUs share the work.
        measure_again: the ceilings of this moment, asked for before a verdict.

    Raises:
        AttemptEndedError: implausible: more than the ceilings allow, or half of all calls took no
            time at all.
    """
    if seconds <= 0:
        raise _implausible("half of all calls took no time at all")
    share: float | None = None
    notes: tuple[str, ...] = ()
    if ceilings is not None:
        share, notes = _share(
            work, seconds, Ceilings.model_validate(ceilings), precision, gpus, measure_again
        )
    figures = {
        "throughput_tokens_per_s": None if work.tokens is None else work.tokens / seconds,
        # 0: the workload states no work, and none could be counted
        "tflops_per_s": work.flops / seconds / 1e12 if work.flops else None,
        "gb_per_s": work.bytes / seconds / 1e9,
        "ceiling_share": share,
    }
    return Rates(figures, notes)


def own_metrics(
    formulas: Mapping[str, str], work: Work, seconds: float, params: Mapping[str, Any]
) -> tuple[Figures, tuple[str, ...]]:
    """The figures that the workload's formulas give, and a note for each that gives none.

    Args:
        formulas: name -> arithmetic over flops, bytes, tokens, seconds and the params.
        work: of one call.
        seconds: of the median call.
        params: of the trial.
    """
    if not formulas:
        return {}, ()
    from orchestrator.errors import ExpressionError
    from orchestrator.spec.expression import number  # which few trials need

    known = {
        **params,
        "flops": work.flops,
        "bytes": work.bytes,
        "tokens": work.tokens,
        "seconds": seconds,
    }
    figures: Figures = {}
    notes: list[str] = []
    for name, formula in formulas.items():
        try:
            figures[name] = float(number(formula, known))
        except ExpressionError as error:
            figures[name] = None
            notes.append(f"the metric {name} cannot be worked out: {error}")
    return figures, tuple(notes)


def _share(
    work: Work,
    seconds: float,
    ceilings: Ceilings,
    precision: str,
    gpus: int,
    measure_again: Callable[[], Ceilings],
) -> tuple[float | None, tuple[str, ...]]:
    """The share of the ceiling that was reached, and a note where no ceiling is known."""
    if ceilings.impossible(work, seconds, precision, gpus):
        ceilings = ceilings.merged(measure_again())
    if reason := ceilings.impossible(work, seconds, precision, gpus):
        raise _implausible(reason)
    share = ceilings.share(work, seconds, precision, gpus)
    if share is not None:
        return share, ()
    return None, (
        f"plausibility was judged by bytes alone: this device has no ceiling for {precision}",
    )


def gpus_of(attempt: Attempt) -> int:
    """How many GPUs share the work of a call. Over nodes `gpus` are one node's alone."""
    resources = attempt.resources
    if not attempt.device.startswith("cuda"):
        return max(1, resources.gpus)
    return max(1, resources.gpus, resources.ranks)


def _implausible(reason: str) -> AttemptEndedError:
    return AttemptEndedError(Outcome.IMPLAUSIBLE, "Implausible", reason)
