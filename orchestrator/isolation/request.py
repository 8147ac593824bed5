"""What a fresh process is asked to do: an attempt of a trial, or a call of one of our functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from orchestrator.trial import Attempt, Resources
from orchestrator.util.frozen_model import FrozenModel

Returned = TypeVar("Returned", bound=FrozenModel)


@dataclass(frozen=True)
class Call(Generic[Returned]):
    """A function to be called in a process of its own, because it uses the device.

    Attributes:
        target: "module:function"; it takes `argument` as JSON text and returns a `returns`.
        argument: what it is given.
        returns: the type of what it returns.
        device: which device it uses.
        resources: its limits.
    """

    target: str
    argument: FrozenModel
    returns: type[Returned]
    device: str
    resources: Resources


@dataclass(frozen=True)
class ProcessRequest:
    """What a fresh process runs, and within which limits.

    Attributes:
        message: what `child.become` is told of it.
        device: which device it uses.
        resources: its limits.
    """

    message: dict[str, Any]
    device: str
    resources: Resources

    @classmethod
    def of_attempt(cls, attempt: Attempt, target: str) -> ProcessRequest:
        """Run an attempt by `target`, "module:function": (Attempt, on_phase) -> AttemptResult.

        Of an attempt that screens trials: (Attempt, on_phase, on_result) -> a model, the result of
        each trial reported as soon as it is there.
        """
        told = {"attempt": attempt.model_dump_json(), "parts": bool(attempt.screened)}
        return cls._of(told, target, attempt.device, attempt.resources)

    @classmethod
    def of_call(cls, call: Call[Any]) -> ProcessRequest:
        """Call a function."""
        told = {"argument": call.argument.model_dump_json()}
        return cls._of(told, call.target, call.device, call.resources)

    @classmethod
    def _of(
        cls, told: dict[str, Any], target: str, device: str, resources: Resources
    ) -> ProcessRequest:
        message = {**told, "target": target, "cpus": resources.cpus}
        return cls(message, device, resources)
