"""What an attempt names, imported in its process: workload, implementation, params."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from orchestrator.measure.memory import cap, release
from orchestrator.trial import Attempt
from orchestrator.usercode import workloads
from orchestrator.usercode.callables import LoadedEntry
from orchestrator.usercode.implementation import user_code
from orchestrator.worker.extension_locks import build_extensions_apart
from orchestrator.workload import Config, Workload

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Resolved:
    """The workload, the entry that builds the implementation, the checked params, and the config
    that `build` is given.
    """

    workload: Workload
    entry: LoadedEntry
    params: BaseModel
    config: Config


def resolve(attempt: Attempt) -> Resolved:
    """Import the workload and the build function, which may be a user's files; check the params.

    Raises:
        AttemptEndedError: one of them cannot be imported.
        pydantic.ValidationError: the params are not the workload's.
    """
    trial = attempt.trial
    build_extensions_apart()
    with user_code():
        workload = workloads.find(attempt.workload, attempt.base_dir)
        entry = workloads.loaded(trial.use, attempt.base_dir, workload, trial.call, trial.compile)
    given = json.loads(trial.params_of(workload.params))
    if "device" in workload.params.model_fields:
        given["device"] = attempt.device
    params = workload.params.model_validate_json(json.dumps(given))
    named = {}
    for name in workload.params.model_fields:
        if name != "device":
            named[name] = getattr(params, name)
    return Resolved(workload, entry, params, Config(named, attempt.device, trial.options))


def opened(config: Config) -> torch.device:
    """The device of a config, made the current one and ready for use."""
    import torch

    device = config.device
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)
        torch.cuda.init()  # type: ignore[no-untyped-call]
    return device


def cap_memory(device: torch.device, gib: float | None) -> None:
    """Limit the memory that torch may take on a GPU from here on; None: to all that it has."""
    if device.type != "cuda":
        return
    from orchestrator.verify.rule.noise import forget_pools

    forget_pools()
    release(device)
    cap(device, gib)
