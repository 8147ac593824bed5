"""Tries an implementation at other valid shapes, untimed: one that knows its shape by heart is
wrong there.

A shape is valid where the workload's params accept it, its inputs can be drawn and its reference
answers. What an implementation refuses by raising is no fault: it need not support every shape.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.outcome import Outcome
from orchestrator.usercode.callables import LoadedEntry
from orchestrator.usercode.implementation import AttemptEndedError, build
from orchestrator.verify.caller import Caller
from orchestrator.verify.seeds import derived_seed
from orchestrator.verify.torch_settings import own_settings
from orchestrator.verify.verifier import Verifier
from orchestrator.workload import Config, Problem, Workload

MOST_TRIED = 24  # combinations of params that are looked at for each that is asked for
MOST_FLOPS = 1e9  # of a reference that only shows whether a shape is valid


@dataclass(frozen=True)
class OtherShapes:
    """Verifies one implementation at shapes near that of its trial.

    Attributes:
        caller: of the implementation at the trial's own shape.
        entry: what the implementation is built from.
        options: of the trial.
        tolerance, max_flops: as of `Verifier`.
    """

    caller: Caller
    entry: LoadedEntry
    options: Mapping[str, Any]
    tolerance: float | None
    max_flops: float | None

    def verify(self, count: int) -> str:
        """That the implementation is right at `count` other shapes: which were tried, in words.

        Raises:
            AttemptEndedError: mismatch or failed: it is wrong at one of them, which the message
                names.
        """
        tried: list[str] = []
        refused: list[str] = []
        given = json.loads(self.caller.params.model_dump_json())
        rng = random.Random(derived_seed(self.caller.seed, "other shapes"))
        for number, change in enumerate(variations(given, rng)):
            if len(tried) == count or number == MOST_TRIED * count:
                break
            params = self._valid({**given, **change})
            if params is None:
                continue
            text = " ".join(f"{name}={value}" for name, value in change.items())
            if self._is_right(params, text):
                tried.append(text)
            else:
                refused.append(text)
        said = f"also verified at {'; '.join(tried) or 'no other shape'}"
        if len(tried) < count:
            said += f", {count} asked for"
        return said + (f"; it raised at {'; '.join(refused)}" if refused else "")

    def _valid(self, given: Mapping[str, Any]) -> Any:
        """The params, where the workload accepts them, draws inputs and answers; else None."""
        import torch

        workload, form = self.caller.workload, self.caller.implementation.form
        try:
            params = workload.params.model_validate_json(json.dumps(given))
            config = self._config(params)
            with own_settings(), torch.no_grad():
                workload.reference(self._problem(workload, config, form))
        except Exception:  # noqa: BLE001 - whatever a workload raises where a shape is none of its own
            return None
        return params

    def _problem(self, workload: Workload, config: Config, form: str) -> Problem:
        import torch

        inputs = tuple(workload.inputs(config, form, derived_seed(self.caller.seed, "valid")))
        state: Mapping[str, torch.Tensor] = {}
        if workload.state is not None:
            state = workload.state(config, form, self.caller.state_seed)
        return Problem(config, form, inputs, state, torch.float64, MOST_FLOPS, 0)

    def _is_right(self, params: Any, text: str) -> bool:
        """Whether it is right there; False where it raises."""
        own = self.caller
        try:
            built = build(own.workload, params, self._config(params), self.entry, own.state_seed)
            caller = Caller(own.workload, params, built, own.seed, own.state_seed)
            verdict = Verifier(caller, self.tolerance, self.max_flops).verify("other shape")
        except AttemptEndedError as ended:
            if ended.outcome is not Outcome.MISMATCH and ended.kind != "InvalidResult":
                return False
            raise AttemptEndedError(
                ended.outcome, ended.kind, f"at another shape, {text}: {ended.message}"
            ) from None
        if not verdict.ok:
            raise AttemptEndedError(
                Outcome.MISMATCH, "Mismatch", f"at another shape, {text}: {verdict}"
            )
        return True

    def _config(self, params: Any) -> Config:
        names = [name for name in type(params).model_fields if name != "device"]
        named = {name: getattr(params, name) for name in names}
        return Config(named, str(self.caller.implementation.config.device), self.options)


def variations(params: Mapping[str, Any], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Params that differ from these: each whole number by itself, then all of them alike; none is
    much larger, so that a shape costs no more than the trial's own.
    """
    numbers = {name: value for name, value in params.items() if _is_size(value)}
    names = list(numbers)
    rng.shuffle(names)
    for change in (_halved, _less, _one_less, _one_more):
        for name in names:
            if (found := _changed(numbers[name], change)) is not None:
                yield {name: found}
        together = {name: _changed(value, change) for name, value in numbers.items()}
        if len(together) > 1:
            yield {name: value for name, value in together.items() if value is not None}


def _is_size(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_size(one) and not isinstance(one, list) for one in value)
    return isinstance(value, int) and not isinstance(value, bool) and value > 1


def _changed(value: Any, change: Any) -> Any:
    """The value changed, entry by entry of a list; None where it stays what it is."""
    found = [change(one) for one in value] if isinstance(value, list) else change(value)
    return None if found == value else found


def _halved(value: int) -> int:
    return max(1, value // 2)


def _less(value: int) -> int:
    return max(1, 3 * value // 4)


def _one_less(value: int) -> int:
    return value - 1


def _one_more(value: int) -> int:
    return value + 1
