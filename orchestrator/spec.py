"""The sweep file as frozen Pydantic models. Nothing after this module doubts its input."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from orchestrator.workload import Scalar

MAX_LABEL = 64

Value = Scalar | list[Scalar]
Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Reference = Annotated[str, Field(min_length=1, max_length=500)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Model(BaseModel):
    """Frozen, strict (a bool is no int), finite, and without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class MeasureSpec(Model):
    """Knobs of the measuring protocol. None: the device's default (see `Protocol`).

    Times in seconds; target_ci is a fraction of the median (0.005: the 95 % interval within +-0.5 %). remeasure: how
    often at most a round flagged throttled or contended is measured again. sentinels: time a fixed matmul and copy now
    and then, to see whether the machine itself changes. ceilings: measure what the device can do in each precision
    once, which bounds what is plausible. energy: run on for a second where the device counts energy.
    """

    warmup_s: Annotated[float, Field(ge=0)] | None = None
    min_time_s: Annotated[float, Field(ge=0)] | None = None
    max_time_s: Positive | None = None
    min_repetitions: Count | None = None
    target_ci: Annotated[float, Field(gt=0, lt=1)] | None = None
    repeats: Count = 1
    remeasure: Annotated[int, Field(ge=0, le=10)] = 3
    cold_cache: bool = True
    sentinels: bool = True
    ceilings: bool = True
    energy: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> MeasureSpec:
        for device in ("cpu", "cuda"):
            protocol = self.for_device(device)
            if protocol.min_time_s > protocol.max_time_s:
                raise ValueError(
                    f"min_time_s must not exceed max_time_s: min_time_s is {protocol.min_time_s:g}, "
                    f"max_time_s is {protocol.max_time_s:g} on {device}"
                )
        return self

    def for_device(self, device: str) -> Protocol:
        """The protocol in force on "cpu" or "cuda": what the file states, else the device's defaults."""
        defaults = PROTOCOL_DEFAULTS[device]
        stated = {name: value for name in defaults if (value := getattr(self, name)) is not None}
        if "max_time_s" in stated and "min_time_s" not in stated:
            stated["min_time_s"] = min(defaults["min_time_s"], stated["max_time_s"])
        if "min_time_s" in stated and "max_time_s" not in stated:
            stated["max_time_s"] = max(defaults["max_time_s"], stated["min_time_s"])
        return Protocol(**{**defaults, **stated}, cold_cache=self.cold_cache, remeasure=self.remeasure)


class Protocol(Model):
    """How one trial is measured on one device; its hash is part of a record's fingerprint. Times in seconds."""

    warmup_s: float
    min_time_s: float
    max_time_s: float
    min_repetitions: int
    target_ci: float
    cold_cache: bool = True
    remeasure: int = 3


PROTOCOL_DEFAULTS: dict[str, dict[str, Any]] = {
    "cuda": {"warmup_s": 0.5, "min_time_s": 1.0, "max_time_s": 10.0, "min_repetitions": 30, "target_ci": 0.005},
    "cpu": {"warmup_s": 0.1, "min_time_s": 0.3, "max_time_s": 3.0, "min_repetitions": 5, "target_ci": 0.03},
}


class VerifySpec(Model):
    """How the output is compared with the reference. There is no switch that turns it off.

    Attributes:
        tolerance: largest relative Frobenius error of a block. None: the floor of the trial's precision, or twice the
            error of a straightforward implementation in it, whichever is larger.
        max_reference_flops: above this many operations the reference answers for sampled rows. None: by device.
    """

    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_reference_flops: Positive | None = None


class ResourceSpec(Model):
    """What one trial needs. gpu_memory_gib caps the trial's share of a card, host_memory_gib its process tree."""

    gpus: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    cpus: Literal["auto"] | Count = "auto"
    gpu_memory_gib: Positive | None = None
    host_memory_gib: Positive | None = None
    timeout_s: Positive = 300.0


class RetrySpec(Model):
    """How often an attempt that ended so is made again."""

    lost: Annotated[int, Field(ge=0, le=100)] = 3
    crashed: Annotated[int, Field(ge=0, le=100)] = 0
    failed: Annotated[int, Field(ge=0, le=100)] = 0
    timeout: Annotated[int, Field(ge=0, le=100)] = 0
    oom: Annotated[int, Field(ge=0, le=100)] = 0
    mismatch: Annotated[int, Field(ge=0, le=100)] = 0
    implausible: Annotated[int, Field(ge=0, le=100)] = 0


class TrackingSpec(Model):
    """Where MLflow runs go. None: sqlite under mlruns/ of the current directory."""

    uri: str | None = None


class ImplementationSpec(Model):
    """An entry of `implementations`: a name, or a mapping with a label, params and options of its own."""

    use: Reference
    label: str = ""
    params: dict[str, Value] = {}
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"use": value}
        if not isinstance(value, dict | ImplementationSpec):
            raise ValueError("must be a name, or a mapping with use, label, params and options")
        if isinstance(value, dict) and isinstance(value.get("use"), str) and not value.get("label"):
            value = {**value, "label": default_label(value["use"])}
        return value

    @field_validator("label")
    @classmethod
    def _printable(cls, label: str) -> str:
        if not label or len(label) > MAX_LABEL or not label.isprintable():
            raise ValueError(f"a label is 1 to {MAX_LABEL} printable characters")
        return label


def default_label(use: str) -> str:
    """The label of an entry that states none: `improved` -> improved, `./my_attention.py:build` -> my_attention."""
    source, _, attribute = use.rpartition(":")
    if not source:
        return use[:MAX_LABEL]
    stem = re.split(r"[./\\]", source.removesuffix(".py"))[-1]
    return (stem if attribute == "build" else f"{stem}:{attribute}")[:MAX_LABEL]


class SweepSpec(Model):
    """A sweep file. See README for an example and docs/ for each field."""

    name: Slug
    description: str = ""
    workload: Reference
    implementations: Annotated[tuple[ImplementationSpec, ...], Field(min_length=1)]
    axes: dict[str, Annotated[list[Value], Field(min_length=1)]] = {}
    constants: dict[str, Value] = {}
    exclude: tuple[str, ...] = ()
    zip: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] = ()
    measure: MeasureSpec = MeasureSpec()
    verify: VerifySpec = VerifySpec()
    resources: ResourceSpec = ResourceSpec()
    max_concurrent: Count | None = None
    retries: RetrySpec = RetrySpec()
    allow_outcomes: tuple[str, ...] = ()
    max_trials: Count = 100_000
    max_failures: Count | None = None
    tracking: TrackingSpec = TrackingSpec()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
