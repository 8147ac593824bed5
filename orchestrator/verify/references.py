"""References of an implementation's problems, and the outputs that they answer for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.verify.caller import Caller
from orchestrator.verify.fallback import on_host
from orchestrator.verify.seeds import derived_seed
from orchestrator.verify.torch_settings import own_settings
from orchestrator.workload import Problem

if TYPE_CHECKING:
    import torch

    from orchestrator.verify.call import Called
    from orchestrator.verify.rule.reference import Reference
    from orchestrator.workload import Expected

    Tensors = tuple[torch.Tensor, ...]


@dataclass
class SharedReferences:
    """References that were asked for before, by problem; with each what `References` knows of it
    beside: `left_out` and `detached`.

    Trials that are verified on the same problems one after another share them, with all draws of
    their noise.
    """

    by_problem: dict[Hashable, tuple[Reference, tuple[str, ...], tuple[str, ...]]] = field(
        default_factory=dict
    )

    def forget(self) -> None:
        """Give back the memory that they take."""
        self.by_problem.clear()


@dataclass
class References:
    """Asks a workload's reference about problems of one implementation.

    Attributes:
        caller: of the implementation.
        shared: those of other trials on the same problems; None: there are none.
        left_out: names of parameters whose gradients the reference leaves out.
        detached: names of outputs that have a gradient in the reference alone.
    """

    caller: Caller
    shared: SharedReferences | None = None
    left_out: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()
    _answered: bool | None = None

    def of(
        self,
        problem: Problem,
        host: bool,
        upstream: Mapping[str, torch.Tensor] | None,
        *,
        own_inputs: bool = True,
    ) -> Reference:
        """The reference of a problem, computed on the host or where its inputs are; `upstream` are
        the gradients of the outputs, where gradients are judged.
        """
        if self.shared is None or not own_inputs:
            return self._new(problem, host, upstream, own_inputs)
        form, layout = self.caller.implementation.form, tuple(self.caller.layout)
        roots = None if upstream is None else self.caller.roots
        key = (problem.seed, problem.max_flops, host, form, layout, roots)
        if key not in self.shared.by_problem:
            reference = self._new(problem, host, upstream, own_inputs)
            self.shared.by_problem[key] = reference, self.left_out, self.detached
        reference, self.left_out, self.detached = self.shared.by_problem[key]
        reference.as_plain = False  # that was said of another trial's outputs
        return reference

    def _new(
        self,
        problem: Problem,
        host: bool,
        upstream: Mapping[str, torch.Tensor] | None,
        own_inputs: bool,
    ) -> Reference:
        from orchestrator.verify.expected import Gradients, compute
        from orchestrator.verify.rule.precisions import working_precision
        from orchestrator.verify.rule.reference import Reference

        if host:
            problem = on_host(problem)
        problem = replace(problem, inputs=tuple(one.detach() for one in problem.inputs))
        gradients = None
        if self.caller.implementation.backward and upstream is not None:
            if len(self.caller.roots) == 1:
                only = upstream[self.caller.roots[0]]
                problem = replace(problem, upstream=only.to(problem.inputs[0].device))
            names = self.caller.implementation.names(len(problem.inputs))
            gradients = Gradients(
                names,
                tuple(self.caller.implementation.parameters()),
                upstream,
                self.caller.returned,
                self.caller.roots,
                self._answered,
            )

        def answers(asked: Problem) -> Mapping[str, Expected]:
            return compute(self.caller.workload, asked, gradients)

        dtypes = (
            *(one.dtype for one in problem.inputs),
            *(dtype for _, dtype in self.caller.layout),
        )
        precision = working_precision(self.caller.workload.precision(self.caller.params), dtypes)
        with own_settings():
            reference = Reference(
                answers,
                problem,
                precision,
                derived_seed(self.caller.seed, "draws"),
                own_inputs=own_inputs,
            )
        if gradients is not None:
            self._answered = gradients.answered
            self.left_out = gradients.left_out
            self.detached = gradients.detached
        return reference

    def outputs(
        self, called: Called, inputs: Tensors, reference: Reference
    ) -> dict[str, torch.Tensor]:
        """All that the reference answers for: what the call returned, gradients, and inputs that it
        wrote.
        """
        from orchestrator.verify.call import matched

        found = matched(
            called.returned,
            called.copies,
            self.returned(reference),
            self.caller.implementation,
            inputs,
        )
        found |= called.gradients
        found |= {name: one.clone() for name, one in self.written(inputs, reference).items()}
        missing = sorted(set(reference.expected) - set(found))
        if missing:
            raise ValueError(
                f"the reference answers for {', '.join(missing)}; there is only {', '.join(found)}"
            )
        return found

    def returned(self, reference: Reference) -> dict[str, Expected]:
        """What the reference says of what a call returns."""
        return {
            name: one
            for name, one in reference.expected.items()
            if not name.startswith("grad_") and name not in self.caller.workload.writes
        }

    def written(self, inputs: Tensors, reference: Reference) -> dict[str, torch.Tensor]:
        """The inputs that a call may change, as it left them."""
        names = self.caller.implementation.names(len(inputs))
        pairs = zip(names, inputs, strict=True)
        return {
            name: one.detach()
            for name, one in pairs
            if name in self.caller.workload.writes and name in reference.expected
        }
