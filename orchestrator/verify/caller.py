"""Calls an implementation as the verifier does: on fresh inputs, which it must leave alone, beside
spoilt memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError, Implementation
from orchestrator.usercode.values.answers import same_bytes
from orchestrator.verify.inputs import copied, rewrite
from orchestrator.verify.seeds import derived_seed, random_like
from orchestrator.verify.torch_settings import own_settings
from orchestrator.workload import Problem, Workload

if TYPE_CHECKING:
    import torch

    from orchestrator.verify.call import Called

    Tensors = tuple[torch.Tensor, ...]


TIMED = ("timed", "written")  # purposes of inputs that are called without `prepare` in between


@dataclass
class Caller:
    """Draws inputs and calls the implementation on them.

    Attributes:
        params: the validated params of the trial.
        seed: of the attempt's inputs, which are others in every attempt.
        state_seed: of the parameters that the harness loads.
        layout: shape and dtype of what the latest call returned.
        returned: the names of that.
        roots: the names of what of it has a gradient.
    """

    workload: Workload
    params: Any
    implementation: Implementation
    seed: int
    state_seed: int
    layout: list[tuple[torch.Size, torch.dtype]] = field(default_factory=list)
    returned: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    _plans: list[Tensors] = field(default_factory=list)

    def inputs(self, *purpose: object) -> Tensors:
        """Inputs for one purpose: the same every time, other than those for any other purpose.

        Those that are timed in turns have the lengths and masks of the first set where the
        implementation prepares for them, since it may keep one plan only.
        """
        drawn = self._drawn(purpose)
        if purpose[0] in TIMED and self.implementation.prepares:
            drawn = _with_plan_of(self._first_timed(), drawn) or drawn
        return self._tracked(drawn)

    def one_plan_is_enough(self) -> bool:
        """Whether one plan is valid for every set of inputs that is timed: their shapes agree."""
        if not self.implementation.prepares:
            return True
        return _with_plan_of(self._first_timed(), self._drawn(("timed", 1))) is not None

    def _drawn(self, purpose: tuple[object, ...]) -> Tensors:
        config, form = self.implementation.config, self.implementation.form
        with own_settings():
            return tuple(self.workload.inputs(config, form, derived_seed(self.seed, *purpose)))

    def _first_timed(self) -> Tensors:
        """The first set that is timed; what is floating-point of it is kept on no device."""
        if not self._plans:
            first = self._drawn(("timed", 0))
            held = [one.to("meta") if _is_floating(one) else one.clone() for one in first]
            self._plans.append(tuple(held))
        return self._plans[0]

    def _tracked(self, drawn: Sequence[torch.Tensor]) -> Tensors:
        """The inputs, with gradients for those that have one where gradients belong to a call."""
        if self.implementation.backward:
            names = self.implementation.names(len(drawn))
            for name, tensor in zip(names, drawn, strict=True):
                if _is_floating(tensor) and name not in self.workload.writes:
                    tensor.requires_grad_()
        return tuple(drawn)

    def problem(
        self, purpose: tuple[object, ...], max_flops: float, inputs: Tensors | None = None
    ) -> Problem:
        """Inputs drawn for a purpose, or `inputs` in their place, as the reference is asked about
        them.
        """
        import torch

        implementation = self.implementation
        inputs = self.inputs(*purpose) if inputs is None else inputs
        state: Mapping[str, torch.Tensor] = {}
        if self.workload.state is not None:
            with own_settings():
                state = self.workload.state(
                    implementation.config, implementation.form, self.state_seed
                )
        seed = derived_seed(self.seed, *purpose, "rows")
        return Problem(
            implementation.config,
            implementation.form,
            inputs,
            state,
            torch.float64,
            max_flops,
            seed,
        )

    def called(
        self, inputs: Tensors, problem: Problem, upstream: Mapping[str, torch.Tensor] | None = None
    ) -> Called:
        """What one call gives; blocks of memory that its outputs may get hold NaN."""
        from orchestrator.verify.call import Called, tensors_of

        self.implementation.prepare(inputs)
        self._spoil_free_memory()
        start, started = process_time(), perf_counter()
        out = self.implementation.call(inputs)
        seconds, wall_s = process_time() - start, perf_counter() - started
        found = tensors_of(out, self.implementation)
        self.layout = [(one.shape, one.dtype) for one in found.values()]
        self.returned = tuple(found)
        copies = {name: one.detach().clone() for name, one in found.items()}
        own = tuple(one.detach() for one in found.values())
        if not self.implementation.backward:
            self._unchanged(inputs, problem.inputs)
            return Called(out, copies, {}, {}, own, seconds, wall_s)
        roots = {name: one for name, one in found.items() if one.requires_grad}
        if not roots:
            raise AttemptEndedError(
                Outcome.FAILED,
                "InvalidResult",
                "returned a tensor without a gradient, but direction is forward_backward",
            )
        self.roots = tuple(roots)
        if upstream is None or not _fits(upstream, roots):
            # of outputs without a gradient, too: the reference may know one
            floating = {
                name: one
                for name, one in found.items()
                if _is_floating(one) and one.dtype.itemsize > 1
            }
            with own_settings():
                upstream = self._upstream(problem, floating)
        start = process_time()
        grads = self.implementation.gradients(
            tuple(roots.values()), inputs, tuple(upstream[name] for name in roots)
        )
        seconds += process_time() - start
        grads = {name: grad.detach().clone() for name, grad in grads.items()}
        self._unchanged(inputs, problem.inputs)
        return Called(out, copies, grads, dict(upstream), own, seconds)

    def _spoil_free_memory(self) -> None:
        """Fill blocks of the outputs' sizes with NaN and free them: what a call leaves unwritten is
        then NaN.
        """
        import torch

        blocks = [
            torch.empty(shape, dtype=dtype, device=self.implementation.config.device)
            for shape, dtype in self.layout
        ]
        for block in blocks:
            if block.is_floating_point() or block.is_complex():
                block.fill_(math.nan)
            elif block.dtype is not torch.bool:
                block.fill_(0x5A)

    def _upstream(
        self, problem: Problem, outputs: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The gradient of each floating-point output: the workload's own, or normal random."""
        if self.workload.upstream is not None and len(outputs) == 1:
            ((name, one),) = outputs.items()
            return {name: self.workload.upstream(problem, tuple(one.shape)).to(one.device)}
        return {
            name: random_like(one, derived_seed(problem.seed, number))
            for number, (name, one) in enumerate(outputs.items())
        }

    def copied(self, problem: Problem) -> Tensors:
        """What the implementation is given is not what the reference will trust."""
        return self._tracked(copied(problem.inputs))

    def put_back(self, used: Tensors, pristine: Tensors) -> None:
        """Written inputs as they were drawn."""
        if self.workload.writes:
            rewrite(used, pristine)

    def unchanged(self, inputs: Tensors, *purpose: object) -> None:
        """That inputs drawn for `purpose` still are what was drawn.

        Raises:
            AttemptEndedError: mismatch, naming the input that a call changed.
        """
        self._unchanged(inputs, self.inputs(*purpose))

    def _unchanged(self, used: Tensors, pristine: Tensors) -> None:
        names = self.implementation.names(len(used))
        for name, given, drawn in zip(names, used, pristine, strict=True):
            if name in self.workload.writes:
                continue
            if not same_bytes(given.detach().to(drawn.device), drawn.detach()):
                raise AttemptEndedError(
                    Outcome.MISMATCH,
                    "InputsChanged",
                    f"the call changed its input {name}; a workload names inputs that are written "
                    "in `writes`",
                )


def _with_plan_of(first: Tensors, drawn: Tensors) -> Tensors | None:
    """The drawn floating-point values beside the first set's others; None: they do not fit."""
    pairs = list(zip(first, drawn, strict=True))
    if any(one.shape != other.shape for one, other in pairs):
        return None
    if not any(_is_floating(other) for _, other in pairs):
        return drawn
    return tuple(other if _is_floating(other) else one.clone() for one, other in pairs)


def _fits(upstream: Mapping[str, torch.Tensor], roots: Mapping[str, torch.Tensor]) -> bool:
    """Whether there is a gradient for each root, of its shape."""
    return all(
        name in upstream and upstream[name].shape == one.shape for name, one in roots.items()
    )


def _is_floating(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
