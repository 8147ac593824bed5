"""A trial: one implementation at one point of the sweep, named by the hash of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from orchestrator.spec.axes import ACCELERATOR_NAME, CASE_NAME
from orchestrator.spec.models import MeasureProtocol, VerifySpec
from orchestrator.util.frozen_model import FrozenModel

# In the environment of a rank's process: where the ranks of its attempt find one another, file://
# or tcp://.
RENDEZVOUS = "ORCHESTRATOR_RENDEZVOUS"
RoundKey = tuple[str, int]  # trial_id, round from 1

_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def content_hash(content: Any, digits: int = 16) -> str:
    """SHA-256 of the canonical JSON of `content`, cut to `digits` hexadecimal digits."""
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()[:digits]


class Trial(FrozenModel):
    """One point: JSON values only.

    Attributes:
        trial_id: content hash of what the implementation entry says and the params, not of source
            code.
        implementation: the entry's label.
        use: a registered name, "package.module:attribute" or "path/to/file.py:attribute".
        params: every param of the workload, resolved, without device.
        options: the implementation's own options.
        call: keyword arguments of every call.
        compile: whether it is called under torch.compile, or what that is given.
    """

    trial_id: str
    implementation: str
    use: str
    params: dict[str, Any]
    options: dict[str, Any] = {}
    call: dict[str, Any] = {}
    compile: bool | dict[str, Any] = False

    @classmethod
    def of(
        cls,
        *,
        implementation: str,
        use: str,
        params: Mapping[str, Any],
        options: Mapping[str, Any],
        call: Mapping[str, Any] | None = None,
        compile_: bool | Mapping[str, Any] = False,
    ) -> Trial:
        """A trial with its id: the hash of its content.

        `call` and `compile_` are part of that only if they are stated, so that ids of sweeps that
        are older than these two stay as they are.
        """
        content: dict[str, Any] = {
            "implementation": implementation,
            "use": use,
            "params": dict(params),
            "options": dict(options),
        }
        if call:
            content["call"] = dict(call)
        if isinstance(compile_, Mapping):
            content["compile"] = dict(compile_)
        elif compile_:
            content["compile"] = True
        return cls(trial_id=content_hash(content), **content)

    def on(self, accelerator: str) -> Trial:
        """The same trial on one model of accelerator: a param that the workload's model lacks."""
        return Trial.of(
            implementation=self.implementation,
            use=self.use,
            params={**self.params, ACCELERATOR_NAME: accelerator},
            options=self.options,
            call=self.call,
            compile_=self.compile,
        )

    def params_of(self, model: type[BaseModel]) -> str:
        """The params as JSON for the workload's model.

        Without the name of the case and the accelerator, unless the model has such a param.
        """
        params = dict(self.params)
        for name in (CASE_NAME, ACCELERATOR_NAME):
            if name not in model.model_fields:
                params.pop(name, None)
        return json.dumps(params)

    def value(self, name: str) -> Any:
        """The value of an axis, a param or an option (`options.<name>`); None: it has none."""
        if name.startswith("options."):
            return self.options.get(name.removeprefix("options."))
        return self.params.get(name)

    def names(self) -> dict[str, Any]:
        """What an expression may read: params, `options.<name>`; `implementation` is the label."""
        names = dict(self.params)
        for name, value in self.options.items():
            names[f"options.{name}"] = value
        names["implementation"] = self.implementation
        return names


class Resources(FrozenModel):
    """What one attempt may take, resolved: counts, GiB and seconds.

    `cpus` None: all that its slot has. `ranks` above 1: the attempt is so many processes, each
    with a share of the inputs and, on CUDA, a GPU of its own.
    """

    gpus: int = 0
    ranks: int = 1
    cpus: int | None = None
    gpu_memory_gib: float | None = None
    host_memory_gib: float | None = None
    timeout_s: float = 300.0


class Attempt(FrozenModel):
    """One execution of a trial: all that a worker must know, in JSON values.

    Attributes:
        workload: a registered name or "path/to/file.py:attribute".
        base_dir: the folder that relative paths in `use` and `workload` start from.
        seed: of this trial's inputs.
        round: which of the trial's repeats, from 1.
        attempt: which try of this round, from 1.
        left: how many attempts of the sweep wait after it; None: not known, since what a search
            asks for next depends on what is found.
        source: hash of the source code that defines the implementation and the workload.
        ceilings: what this device was seen to do (`Ceilings` as JSON values); None: plausibility is
            not judged.
        precision: whose ceilings the supervisor is to fill in, measured once per slot; "": none.
        sentinels: whether the supervisor is to look now and then if the machine itself changes.
        pause_s: seconds to wait first, so that what disturbed the attempt before this one may pass.
        energy: whether to run on for a second while the supervisor reads the device's energy
            counter.
        profile: whether one more call is made under torch's profiler.
        compile_times: whether the first call is timed with empty caches, and with warm ones.
        graph: whether the call is timed as a CUDA graph, too.
        trace: the file for a trace of that call; "": none.
        rival: a second trial to be measured in the same process, in turns with this one (a duel);
            None: just this one.
        salt: drawn for each attempt and kept in its record: with it the seed gives the same inputs
            again.
        screened: trials of one search to be verified and timed briefly, one after another in one
            process; `trial` is the first of them. Empty: `trial` is measured by itself.
        screened_next: trials that are to be screened after these; they are compiled meanwhile,
            where that disturbs nothing.
        incumbent: what each of them is timed in turns with: the best of the search so far.
        incumbent_ms: its latency, by which those of the others are stated.
        cut_above_ms: timing may stop as soon as the interval lies above this latency; None: it
            never may.
    """

    sweep_id: str
    trial: Trial
    workload: str
    base_dir: str
    device: str
    seed: int
    protocol: MeasureProtocol
    verify: VerifySpec
    resources: Resources
    round: int = 1
    attempt: int = 1
    left: int | None = None
    source: str = ""
    ceilings: dict[str, Any] | None = None
    precision: str = ""
    sentinels: bool = False
    pause_s: float = 0.0
    energy: bool = False
    profile: bool = False
    compile_times: bool = False
    graph: bool = False
    trace: str = ""
    rival: Trial | None = None
    screened: tuple[Trial, ...] = ()
    screened_next: tuple[Trial, ...] = ()
    incumbent: Trial | None = None
    incumbent_ms: float | None = None
    cut_above_ms: float | None = None
    salt: str = ""

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells this attempt from every other of its sweep."""
        return self.trial.trial_id, self.round, self.attempt

    def of_each_trial(self) -> tuple[Attempt, ...]:
        """An attempt for each of its trials, as if alone; the attempt itself if it has just one."""
        if self.screened:
            nothing = {
                "screened": (),
                "screened_next": (),
                "incumbent": None,
                "incumbent_ms": None,
            }
            alone = self.model_copy(update=nothing)
            return tuple(alone.model_copy(update={"trial": trial}) for trial in self.screened)
        if self.rival is None:
            return (self,)
        alone = self.model_copy(update={"rival": None})
        return alone, alone.model_copy(update={"trial": self.rival})
