"""An implementation over ranks: one share of it in every process, and at rank 0 the whole that the
harness examines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orchestrator.measure.memory import NOTHING_KNOWN, Figures, HostPeak
from orchestrator.outcome import Outcome
from orchestrator.usercode.implementation import AttemptEndedError, Implementation, user_code
from orchestrator.usercode.values.answers import same_bytes
from orchestrator.util.quantities import MIB
from orchestrator.worker.distributed.assembled import assembled, element_numbers
from orchestrator.worker.distributed.team import Described, Team, describe

if TYPE_CHECKING:
    import torch

    from orchestrator.workload import Workload

    Tensors = tuple[torch.Tensor, ...]

SCRATCH = -1  # the set of inputs that every call which is not timed has its values written into


@dataclass
class Share:
    """One rank's share of an implementation, with the inputs it has; every rank has one.

    Attributes:
        built: what `build` returned here, called with this rank's inputs.
        sets: this rank's inputs by number.
        calls: calls to be timed, by number.
        kept: the latest output of those calls that keep it.
        known: at rank 0, which whole inputs are those of which timed set; a call on them is a call
            on that set.
        parts: at rank 0, the shape and dtype of every rank's latest output.
        memory: figures of the first call, and `first_call_s` how long it took.
    """

    built: Implementation
    team: Team
    sets: dict[int, Tensors] = field(default_factory=dict)
    calls: dict[int, Callable[[], object]] = field(default_factory=dict)
    kept: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    known: dict[tuple[int, ...], int] = field(default_factory=dict)
    parts: list[Described] = field(default_factory=list)
    memory: Figures = field(default_factory=lambda: dict(NOTHING_KNOWN))
    first_call_s: float = 0.0
    _host: HostPeak | None = field(default_factory=HostPeak)
    _out: torch.Tensor | None = None

    def load(self, number: int, values: Sequence[torch.Tensor]) -> None:
        """Write inputs into the set of that number, which stays where it lies if it fits."""
        import torch

        held = self.sets.get(number)
        if held is not None and describe(held) == describe(values):
            with torch.no_grad():
                for old, new in zip(held, values, strict=True):
                    old.data.copy_(new)
            return
        made = []
        for value in values:
            own = value.detach().clone(memory_format=torch.contiguous_format)
            made.append(
                own.requires_grad_() if self.built.backward and own.is_floating_point() else own
            )
        self.sets[number] = tuple(made)

    def call(self, number: int) -> torch.Tensor:
        """This rank's output for a set of inputs; the call must leave them as they were.

        Raises:
            AttemptEndedError: it raised, returned something else than a tensor of the right kind,
                or changed inputs.
        """
        import torch

        inputs = self.sets[number]
        before = [tensor.detach().clone() for tensor in inputs]
        host, self._host = self._host, None  # of the first call alone
        if host is not None:
            host.start()
            host.mark()
            host.inputs_made()
        start = perf_counter()
        out = self.built.call(inputs)
        if not isinstance(out, torch.Tensor):
            raise AttemptEndedError(
                Outcome.FAILED, "InvalidResult", f"returned a {type(out).__name__}, not one tensor"
            )
        if host is not None:
            self._synchronize()
            self.first_call_s = perf_counter() - start
            self._note_memory(host, inputs)
        self._out = out
        self._refuse_changed(inputs, before)
        return out

    @property
    def gradient_names(self) -> list[str]:
        """Of the inputs' gradients, in the inputs' order."""
        return [f"grad_{name}" for name in self.built.input_names]

    def gradients(self, number: int, upstream: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of the latest output of `call`, with respect to the inputs of that set and the
        parameters.
        """
        assert self._out is not None
        out, self._out = self._out, None
        return self.built.gradients((out,), self.sets[number], (upstream,))

    def prepare(self, number: int, of: int, upstream: torch.Tensor | None, keeps: bool) -> None:
        """Make the call to be timed that has this number, on the set of inputs `of`."""
        call = self.built.timed(self.sets[of], () if upstream is None else (upstream,))
        self.calls[number] = call
        if not keeps:
            return
        kept = self.kept[number] = []

        def keeping() -> object:
            # before the next one is made: a call that is kept needs no more room than another
            kept.clear()
            out: Any = call()
            kept.append(out if upstream is None else out[0])
            return out

        self.calls[number] = keeping

    def unchanged(self, number: int, values: Sequence[torch.Tensor]) -> None:
        """That a set of inputs still is what was drawn.

        Raises:
            AttemptEndedError: mismatch.
        """
        self._refuse_changed(self.sets[number], values)

    def forget(self) -> None:
        """Give back all inputs, calls and outputs."""
        self._out = None
        self.sets.clear()
        self.calls.clear()
        self.kept.clear()
        self.known.clear()

    def _synchronize(self) -> None:
        if self.team.device.type == "cuda":
            import torch

            torch.cuda.synchronize()

    def _note_memory(self, host: HostPeak, inputs: Tensors) -> None:
        """Inputs and what the first call took beyond them: rank 0 also holds what the harness
        examines.
        """
        workspace = host.figures()["workspace_mib"] if self.team.device.type == "cpu" else None
        if workspace is not None:
            held = sum(tensor.numel() * tensor.element_size() for tensor in inputs) / MIB
            self.memory = {
                **NOTHING_KNOWN,
                "peak_memory_mib": held + workspace,
                "workspace_mib": workspace,
            }

    def _refuse_changed(
        self, used: Sequence[torch.Tensor], pristine: Sequence[torch.Tensor]
    ) -> None:
        for number, (given, drawn) in enumerate(zip(used, pristine, strict=True)):
            if not same_bytes(given, drawn.to(given.device)):
                names = self.built.input_names
                name = names[number] if number < len(names) else str(number)
                raise AttemptEndedError(
                    Outcome.MISMATCH, "InputsChanged", f"the call changed its input {name}"
                )


@dataclass(frozen=True)
class Leading(Implementation):
    """The whole of an implementation over ranks, as rank 0 has it examined: whole inputs in, whole
    outputs out.

    Each call gives every rank its share of the inputs, has all ranks call, and puts their outputs
    together.
    `function` is this rank's own.
    """

    share: Share = field(kw_only=True)
    workload: Workload = field(kw_only=True)

    @classmethod
    def of(cls, share: Share, workload: Workload) -> Leading:
        """The whole, of which `share` is rank 0's."""
        built = share.built
        own = {known.name: getattr(built, known.name) for known in fields(Implementation)}
        return cls(**own, share=share, workload=workload)

    @property
    def gradient_names(self) -> list[str]:
        """Of the inputs' gradients, in the inputs' order."""
        return self.share.gradient_names

    def call(self, inputs: Tensors) -> torch.Tensor:
        """The whole output, put together from those of all ranks."""
        number = self._load(inputs)
        self.share.team.tell(("call", number))
        parts = [part for (part,) in self.share.team.gather([self.share.call(number)])]
        self.share.parts = describe(parts)
        with user_code():
            assert self.workload.gather is not None
            whole = self.workload.gather(parts)
        return whole.requires_grad_() if self.backward and whole.is_floating_point() else whole

    def gradients(
        self,
        outputs: Sequence[torch.Tensor],  # noqa: ARG002 - the whole; each rank's latest part of it was computed
        inputs: Tensors,
        upstream: Sequence[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """The whole gradients of the inputs, put together from all ranks', and rank 0's of the
        parameters.

        Raises:
            AttemptEndedError: also where an input that several ranks have whole has other gradients
                on some.
        """
        number = self._number(inputs)
        shares = self._upstream(upstream[0])
        self._hand_out(("gradients", number), [[one] for one in shares])
        found = self.share.gradients(number, shares[0])
        names = self.gradient_names
        every = self.share.team.gather([found[name] for name in names])
        labels = self._shards([element_numbers(tensor) for tensor in inputs])
        wholes = {}
        for place, name in enumerate(names):
            parts = [(labels[rank][place], every[rank][place]) for rank in range(len(every))]
            wholes[name] = assembled(name, inputs[place], parts)
        return {**found, **wholes}

    def timed(
        self,
        inputs: Tensors,
        upstream: Sequence[torch.Tensor] = (),
        kept: list[torch.Tensor] | None = None,
    ) -> RankedCall:
        """A call of all ranks; on the set of inputs that these whole ones were given to the ranks
        as.
        """
        number, of = len(self.share.calls), self._timed_set(inputs)
        shares = [[one] for one in self._upstream(upstream[0])] if upstream else None
        self._hand_out(("prepare", number, of, kept is not None), shares)
        self.share.prepare(number, of, None if shares is None else shares[0][0], kept is not None)
        return RankedCall(self, number, kept)

    def check_unchanged(self, inputs: Tensors) -> None:
        """That every rank's share of inputs which calls were timed on is what was drawn.

        Raises:
            AttemptEndedError: mismatch.
        """
        number = self._number(inputs)
        shards = self._shards(inputs)
        self._hand_out(("unchanged", number), shards)
        self.share.unchanged(number, shards[0])

    def refill(self, used: Tensors, fresh: Tensors) -> None:
        """Write other values into a set of inputs, on every rank."""
        shards = self._shards(fresh)
        number = self._number(used)
        self._hand_out(("load", number), shards)
        self.share.load(number, shards[0])

    def put_together(self, kept: list[torch.Tensor], number: int) -> None:
        """The latest output of a call that keeps it, whole, in the place of this rank's."""
        team = self.share.team
        team.tell(("outputs", number))
        parts = [part for (part,) in team.gather([self.share.kept[number][-1]])]
        assert self.workload.gather is not None
        kept[:] = [self.workload.gather(parts)]

    def _load(self, inputs: Tensors) -> int:
        number = self._number(inputs)
        self._give(number, inputs)
        return number

    def _timed_set(self, inputs: Tensors) -> int:
        """The set of inputs that calls on these whole ones are timed on; a new one at first."""
        number = self._number(inputs)
        if number != SCRATCH:
            return number
        number = len(self.share.known)
        self.share.known[_key(inputs)] = number
        self._give(number, inputs)
        return number

    def _number(self, inputs: Tensors) -> int:
        return self.share.known.get(_key(inputs), SCRATCH)

    def _give(self, number: int, inputs: Tensors) -> None:
        shards = self._shards(inputs)
        self._hand_out(("load", number), shards)
        self.share.load(number, shards[0])

    def _shards(self, inputs: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
        """Each rank's share of whole tensors."""
        import torch

        assert self.workload.shard is not None
        world_size = self.share.team.world_size
        with user_code(), torch.no_grad():
            whole = tuple(tensor.detach() for tensor in inputs)
            return [
                list(self.workload.shard(whole, rank, world_size)) for rank in range(world_size)
            ]

    def _upstream(self, upstream: torch.Tensor) -> list[torch.Tensor]:
        """Each rank's share of the gradient of the whole output: how `gather` passes a gradient
        back.
        """
        import torch

        assert self.workload.gather is not None
        parts = [
            torch.zeros(
                shape, dtype=getattr(torch, dtype), device=upstream.device, requires_grad=True
            )
            for shape, dtype in self.share.parts
        ]
        with user_code(), torch.enable_grad():
            whole = self.workload.gather(parts)
            return list(torch.autograd.grad(whole, parts, upstream, materialize_grads=True))

    def _hand_out(self, order: tuple[Any, ...], tensors: list[list[torch.Tensor]] | None) -> None:
        """An order to the other ranks, with tensors for each."""
        team = self.share.team
        described = None if tensors is None else [describe(one) for one in tensors]
        team.tell((*order, described))
        for rank in range(1, team.world_size):
            if tensors is not None:
                team.send(tensors[rank], rank)


@dataclass(frozen=True)
class RankedCall:
    """A call of all ranks, made as rank 0 makes it; a clock of ranks makes many of them with one
    order.
    """

    leading: Leading
    number: int
    kept: list[torch.Tensor] | None

    def __call__(self) -> object:
        """One call, on all ranks."""
        self.leading.share.team.tell(("once", self.number))
        return self.leading.share.calls[self.number]()


def _key(inputs: Sequence[torch.Tensor]) -> tuple[int, ...]:
    """Where whole inputs lie in memory."""
    return tuple(tensor.data_ptr() for tensor in inputs)
