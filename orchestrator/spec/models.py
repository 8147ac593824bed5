"""The sweep file as frozen Pydantic models. What comes after relies on them, unchecked."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from orchestrator.spec.axes import Axis, CasesSpec, Count, Range, Value
from orchestrator.util.credentials import masked
from orchestrator.util.frozen_model import FrozenModel
from orchestrator.workload import Scalar

MAX_LABEL = 64

Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Reference = Annotated[str, Field(min_length=1, max_length=500)]
Positive = Annotated[float, Field(gt=0)]


class MeasureSpec(FrozenModel):
    """Knobs of the measuring protocol. None: the device's default (see `MeasureProtocol`).

    Times in seconds; target_ci is a fraction of the median (0.005: the 95 % interval within +-0.5
    %). remeasure: how often at most a round flagged throttled or contended is measured again.
    sentinels: time a fixed matmul and copy now and then, to see whether the machine itself changes.
    ceilings: measure what the device can do in each precision once, which bounds what is plausible.
    energy: run on for a second where the device counts energy.
    profile: make one more call of each ok row, untimed, under torch's profiler.
    compile: time building and the first call with empty caches, and with those that this left.
    graph: also time the call as a CUDA graph, where it can be captured.
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
    profile: bool = False
    compile: bool = False
    graph: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> MeasureSpec:
        for device in ("cpu", "cuda"):
            protocol = self.for_device(device)
            if protocol.min_time_s > protocol.max_time_s:
                raise ValueError(
                    "min_time_s must not exceed max_time_s: min_time_s is "
                    f"{protocol.min_time_s:g}, max_time_s is {protocol.max_time_s:g} on {device}"
                )
        return self

    def for_device(self, device: str) -> MeasureProtocol:
        """The protocol in force on "cpu" or "cuda": what the file states, else the device's
        defaults.
        """
        defaults = PROTOCOL_DEFAULTS[device]
        stated = {}
        for name in defaults:
            value = getattr(self, name)
            if value is not None:
                stated[name] = value
        # A stated bound moves the default of the other one, so that the two never contradict.
        if "max_time_s" in stated and "min_time_s" not in stated:
            stated["min_time_s"] = min(defaults["min_time_s"], stated["max_time_s"])
        if "min_time_s" in stated and "max_time_s" not in stated:
            stated["max_time_s"] = max(defaults["max_time_s"], stated["min_time_s"])
        in_force = defaults | stated
        return MeasureProtocol(**in_force, cold_cache=self.cold_cache, remeasure=self.remeasure)

    def facts(self, device: str) -> dict[str, Any]:
        """The protocol in force as `measure.<name>`, to be held against another's."""
        protocol = self.for_device(device).model_dump()
        return {f"measure.{name}": value for name, value in protocol.items()}


class MeasureProtocol(FrozenModel):
    """How one trial is measured on one device; its hash is part of a record's fingerprint. Times in
    seconds.
    """

    warmup_s: float
    min_time_s: float
    max_time_s: float
    min_repetitions: int
    target_ci: float
    cold_cache: bool = True
    remeasure: int = 3


PROTOCOL_DEFAULTS: dict[str, dict[str, Any]] = {
    "cuda": {
        "warmup_s": 0.3,
        "min_time_s": 0.1,
        "max_time_s": 10.0,
        "min_repetitions": 20,
        "target_ci": 0.005,
    },
    "cpu": {
        "warmup_s": 0.05,
        "min_time_s": 0.1,
        "max_time_s": 3.0,
        "min_repetitions": 5,
        "target_ci": 0.03,
    },
}


class VerifySpec(FrozenModel):
    """How the output is compared with the reference. There is no switch that turns it off.

    Attributes:
        tolerance: largest relative Frobenius error of a block. None: the floor of the trial's
            precision, or twice the error of a straightforward implementation in it, whichever is
            larger.
        max_reference_flops: above this many operations the reference answers for sampled rows.
            None: by device.
        also: at how many other valid shapes each implementation is verified, untimed.
    """

    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_reference_flops: Positive | None = None
    also: Annotated[int, Field(ge=0, le=16)] = 0


class ResourceSpec(FrozenModel):
    """What one trial needs. gpu_memory_gib caps the trial's share of a card, host_memory_gib its
    process tree.

    Attributes:
        placement: of a trial over ranks: packed on as few nodes as have room for it, or spread, a
            node for each rank as far as there are nodes.
        exclusive_node: no other trial runs on a trial's node.
        accelerator: the model of the nodes' GPUs, as Ray names it; None: any.
        per_accelerator: each trial is measured on every model that the cluster has.
        wait_s: how long to wait for a cluster that has no room at first.
    """

    gpus: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    cpus: Literal["auto"] | Count = "auto"
    gpu_memory_gib: Positive | None = None
    host_memory_gib: Positive | None = None
    timeout_s: Positive = 300.0
    placement: Literal["packed", "spread"] = "packed"
    exclusive_node: bool = False
    accelerator: str | None = None
    per_accelerator: bool = False
    wait_s: Positive = 600.0


class RetrySpec(FrozenModel):
    """How often an attempt that ended so is made again."""

    lost: Annotated[int, Field(ge=0, le=100)] = 3
    crashed: Annotated[int, Field(ge=0, le=100)] = 0
    failed: Annotated[int, Field(ge=0, le=100)] = 0
    timeout: Annotated[int, Field(ge=0, le=100)] = 0
    oom: Annotated[int, Field(ge=0, le=100)] = 0
    mismatch: Annotated[int, Field(ge=0, le=100)] = 0
    implausible: Annotated[int, Field(ge=0, le=100)] = 0


class TrackingSpec(FrozenModel):
    """Where MLflow runs go. None: sqlite under mlruns/ of the current directory.

    Written anywhere, the address has `***` for its log-in.
    """

    uri: str | None = None

    @field_serializer("uri")
    def _without_login(self, uri: str | None) -> str | None:
        return None if uri is None else masked(uri)


class CompileSpec(FrozenModel):
    """What torch.compile is given; what is not stated is its own default."""

    mode: str | None = None
    fullgraph: bool | None = None
    dynamic: bool | None = None
    backend: str | None = None
    options: dict[str, Scalar] | None = None


class ImplementationSpec(FrozenModel):
    """An entry of `implementations`: a name, or a mapping with a label, params and options of its
    own.

    Attributes:
        call: keyword arguments of every call.
        compile: whether it is called under torch.compile, and with what.
        files: what the code reads besides its own modules: paths, folders or patterns, from the
            sweep file's folder. They are part of its source hash and travel to a cluster.
    """

    use: Reference
    label: str = ""
    params: dict[str, Value] = {}
    options: dict[str, Any] = {}
    call: dict[str, Value] = {}
    compile: bool | CompileSpec = False
    files: list[str] = []

    @property
    def compile_options(self) -> bool | dict[str, Any]:
        """`compile` in JSON values, as a trial has it."""
        if isinstance(self.compile, bool):
            return self.compile
        return self.compile.model_dump(exclude_none=True)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"use": value}
        if not isinstance(value, dict | ImplementationSpec):
            raise ValueError(
                "must be a name, or a mapping with use, label, params, options, call, compile and "
                "files"
            )
        if isinstance(value, dict) and isinstance(value.get("use"), str) and not value.get("label"):
            compiled = "-compiled" if value.get("compile") else ""
            label = default_label(value["use"])
            value = {**value, "label": f"{label[: MAX_LABEL - len(compiled)]}{compiled}"}
        return value

    @field_validator("label")
    @classmethod
    def _printable(cls, label: str) -> str:
        if not label or len(label) > MAX_LABEL or not label.isprintable():
            raise ValueError(f"a label is 1 to {MAX_LABEL} printable characters")
        return label


class SearchSpec(FrozenModel):
    """How trials are proposed where a grid is too much; `grid` runs every point.

    Attributes:
        strategy: grid, random, or the name of a searcher of Ray Tune.
        samples: how many trials each search runs at most; a search is one implementation at one
            point of the axes that are not searched.
        seed: of the proposals. None: the sweep's.
        metric: what is to be best. mode None: max for rates and shares, min for the rest.
        over: the axes that are searched. None: ranges and options, or every axis where there are
            none of these.
        first: points to begin with, each a mapping from searched axes to values; an option that is
            left out is not set.
        screen: whether trials are verified and timed briefly in shared processes first, in turns
            with the best so far, and only the best are measured by themselves.
        finalists: how many of each search are measured by themselves after `screen`.
        budget_s: a search proposes nothing more once its trials took so many seconds together.
    """

    strategy: str = "grid"
    samples: Count = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    metric: str = "latency_ms"
    mode: Literal["min", "max"] | None = None
    over: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    first: tuple[dict[str, Value], ...] = ()
    screen: bool = False
    finalists: Count = 3
    budget_s: Annotated[float, Field(gt=0)] | None = None

    @property
    def active(self) -> bool:
        """Whether trials are proposed one after another, instead of all at once."""
        return self.strategy != "grid"

    @property
    def least(self) -> bool:
        """Whether the least value of the metric is the best."""
        if self.mode is not None:
            return self.mode == "min"
        return not self.metric.endswith(("_per_s", "_share"))


class FrontierSpec(FrozenModel):
    """Which axis is to be followed up to the largest value that fits. None: none."""

    axis: str | None = None


def default_label(use: str) -> str:
    """The label of an entry that states none.

    `improved` -> improved, `./my_attention.py:build` -> my_attention.
    """
    source, _, attribute = use.rpartition(":")
    if not source:
        return use[:MAX_LABEL]
    label = re.split(r"[./\\]", source.removesuffix(".py"))[-1]
    if attribute != "build":
        label += f":{attribute}"
    return label[:MAX_LABEL]


class SweepSpec(FrozenModel):
    """A sweep file. See README for an example and docs/ for each field."""

    name: Slug
    description: str = ""
    workload: Reference
    implementations: Annotated[tuple[ImplementationSpec, ...], Field(min_length=1)]
    search: SearchSpec = SearchSpec()
    frontier: FrontierSpec = FrontierSpec()
    predict: bool = False
    axes: dict[str, Axis] = {}
    cases: CasesSpec | None = None
    constants: dict[str, Value] = {}
    exclude: tuple[str, ...] = ()
    zip: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] = ()
    measure: MeasureSpec = MeasureSpec()
    verify: VerifySpec = VerifySpec()
    resources: ResourceSpec = ResourceSpec()
    max_concurrent: Count | None = None
    retries: RetrySpec = RetrySpec()
    allow_outcomes: tuple[str, ...] = ()
    baseline: str | None = None
    max_trials: Count = 100_000
    max_failures: Count | None = None
    reuse: bool = False
    tracking: TrackingSpec = TrackingSpec()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @field_validator("axes")
    @classmethod
    def _listed(cls, axes: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Outside a search, a range with a step is the list of its values."""
        search = info.data.get("search", SearchSpec())
        if search.active:
            return axes
        return {name: _written_out(name, axis) for name, axis in axes.items()}

    @property
    def proposes(self) -> bool:
        """Whether which trials it has depends on how earlier ones end."""
        return self.search.active or self.frontier.axis is not None

    @property
    def searched(self) -> tuple[str, ...]:
        """The axes whose values a search proposes; none without one."""
        if not self.search.active:
            return ()
        if self.search.over is not None:
            return tuple(name for name in self.axes if name in self.search.over)
        free = []
        for name, axis in self.axes.items():
            if isinstance(axis, Range) or name.startswith("options."):
                free.append(name)
        return tuple(free or self.axes)

    def listed(self, axis: str) -> list[Value]:
        """The values of an axis that is not searched.

        None of a range without a step, which the rules of the search refuse.
        """
        values = self.axes[axis]
        if not isinstance(values, Range):
            return values
        if values.step is None or values.log:
            return []
        return list(values.values())


def _written_out(name: str, axis: list[Value] | Range) -> list[Value] | Range:
    """A range with a step as the list of its values; every other axis as it is."""
    if not isinstance(axis, Range) or axis.step is None or axis.log:
        return axis
    try:
        return list(axis.values())
    except ValueError as error:
        raise ValueError(f"{name} is {error}") from None
