"""The implementation under test: built, called, and user_code for whatever it raises."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.outcome import Outcome
from orchestrator.usercode import callables
from orchestrator.usercode.callables import LoadedEntry
from orchestrator.usercode.generators import modes_left_on, same_bits
from orchestrator.usercode.oom import is_out_of_memory
from orchestrator.usercode.values.trees import leaves
from orchestrator.usercode.workload_file import FileWorkload
from orchestrator.util.files import PACKAGE

if TYPE_CHECKING:
    import torch

    from orchestrator.workload import Config, Workload

_LIBRARIES = tuple(
    {
        str(Path(traceback.__file__).parent),
        *(path for path in sys.path if path.endswith("-packages")),
    }
)
_HARNESS = str(PACKAGE)
MOST_DRAWN_TWICE = 2**28  # bytes of inputs: more would take memory that the trial may need


class AttemptEndedError(Exception):
    """An attempt that has its outcome before the end: which, of what kind, and why in short."""

    def __init__(self, outcome: Outcome, kind: str, message: str) -> None:
        self.outcome = outcome
        self.kind = kind
        self.message = message
        super().__init__(f"{outcome.value}: {kind}: {message}")


@contextmanager
def user_code(*, may_refuse: bool = False) -> Iterator[None]:
    """Run the implementation's own code; what it raises becomes its outcome.

    Raises:
        AttemptEndedError: oom; unsupported, for a NotImplementedError where it `may_refuse`; else
            failed, SystemExit included.
    """
    try:
        yield
    except AttemptEndedError:
        raise
    except BaseException as error:
        outcome = Outcome.OOM if is_out_of_memory(error) else Outcome.FAILED
        said = in_brief(error)
        if may_refuse and isinstance(error, NotImplementedError) and not _lacks_forward(error):
            outcome = Outcome.UNSUPPORTED
            if not error.args:
                said = f'it gives no reason {said}: raise NotImplementedError("the reason")'
        raise AttemptEndedError(outcome, type(error).__name__, said) from error


def _lacks_forward(error: BaseException) -> bool:
    """Whether torch says that a module or an autograd.Function has no `forward`: a slip."""
    *_, last = traceback.extract_tb(error.__traceback__)
    is_function = last.name == "forward" and last.filename.endswith("torch/autograd/function.py")
    return is_function or last.name == "_forward_unimplemented"


def in_brief(error: BaseException) -> str:
    """What the exception says, and the last line of the user's own code that it passed through."""
    try:
        text = "; ".join((str(error), *getattr(error, "__notes__", ())))
    except Exception:  # noqa: BLE001 - a user's exception may have a broken __str__
        text = "(its text cannot be had: its __str__ raises)"
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):  # the last that is the user's
        if not frame.filename.startswith((_HARNESS, *_LIBRARIES, "<frozen")):
            place = f"({Path(frame.filename).name}:{frame.lineno} in {frame.name})"
    if not place:
        return text or type(error).__name__
    return f"{text} {place}" if text else place


@dataclass(frozen=True)
class Implementation:
    """An implementation that was built, and how the workload wants it called.

    Attributes:
        function: what is called: what `build` returned, or the implementation itself; compiled,
            where that is asked.
        backward: whether gradients of its inputs and parameters belong to a call.
        input_names: for messages and gradients, one per input.
        keywords: of every call.
        bind: puts around the tensors what else a call is given; None: nothing.
        module: what holds its parameters; None: it has none.
        out_dtypes: the dtypes that outputs may have, by name, where the workload states them.
        writes: with gradients, the inputs that a call may change: state, which has none.
    """

    function: Callable[..., Any]
    config: Config
    form: str
    backward: bool
    input_names: tuple[str, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    bind: Callable[[tuple[torch.Tensor, ...]], tuple[Any, ...]] | None = None
    module: torch.nn.Module | None = None
    out_dtypes: Mapping[str, tuple[torch.dtype, ...]] = field(default_factory=dict)
    writes: tuple[str, ...] = ()

    def arguments(self, inputs: tuple[torch.Tensor, ...]) -> tuple[Any, ...]:
        """What the function is called with. What it writes is given anew in each call: else its
        history, for gradients, would grow from one to the next.
        """
        if self.writes:
            named = zip(self.names(len(inputs)), inputs, strict=True)
            inputs = tuple(one.detach() if name in self.writes else one for name, one in named)
        return inputs if self.bind is None else self.bind(inputs)

    def call(self, inputs: tuple[torch.Tensor, ...]) -> Any:
        """What one call returns, whatever it is.

        Raises:
            AttemptEndedError: it raised (unsupported, for a NotImplementedError: kernels of
                libraries say it when they are called), or left a mode of torch on.
        """
        import torch

        arguments = self.arguments(inputs)
        with user_code(may_refuse=True), torch.set_grad_enabled(self.backward):
            out = self.function(*arguments, **self.keywords)
        left = modes_left_on()
        if left is not None:
            raise _failed(
                f"left a {left} on, which may put off what it computes until someone looks at it"
            )
        return out

    @property
    def prepares(self) -> bool:
        """Whether it has a method `prepare`."""
        return callable(getattr(self.function, "prepare", None))

    def prepare(self, inputs: tuple[torch.Tensor, ...]) -> None:
        """Let it plan for these values, where it has a method for that; no part of a timed call.

        Raises:
            AttemptEndedError: the method raised.
        """
        if self.prepares:
            with user_code():
                self.function.prepare(*self.arguments(inputs))  # type: ignore[attr-defined]

    def leaves(self, inputs: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        """What has a gradient, by name: the floating-point inputs and the parameters."""
        named = zip(self.names(len(inputs)), inputs, strict=True)
        return {name: one for name, one in named if one.requires_grad} | self.parameters()

    def names(self, count: int) -> tuple[str, ...]:
        """The names of so many inputs; a number where the workload states none."""
        names = list(self.input_names[:count])
        names += [str(number) for number in range(len(names), count)]
        return tuple(names)

    def gradients(
        self,
        outputs: Sequence[torch.Tensor],
        inputs: tuple[torch.Tensor, ...],
        upstream: Sequence[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """The gradients of inputs and parameters by name ("grad_q"); 0 for what the outputs do not
        depend on.

        Raises:
            AttemptEndedError: the backward pass raised.
        """
        import torch

        leaves = self.leaves(inputs)
        with user_code(may_refuse=True):
            found = torch.autograd.grad(
                outputs, tuple(leaves.values()), upstream, allow_unused=True
            )
        gradients = {}
        for (name, leaf), grad in zip(leaves.items(), found, strict=True):
            gradients[f"grad_{name}"] = torch.zeros_like(leaf) if grad is None else grad
        return gradients

    def parameters(self) -> dict[str, torch.Tensor]:
        """Its trainable parameters by name; none, unless it is an nn.Module."""
        if self.module is None:
            return {}
        named = self.module.named_parameters()
        return {name: value for name, value in named if value.requires_grad}

    def timed(
        self, inputs: tuple[torch.Tensor, ...], upstream: Sequence[torch.Tensor] = ()
    ) -> Callable[[], object]:
        """A call without checks, for a clock: forward, and backward into fresh gradients where
        `upstream` is given.

        It returns what the implementation returns; with gradients, a pair of that and of them. They
        are not accumulated, so that there is nothing to clear between calls.
        """
        import torch

        # All that a call needs is looked up here: what the closure does is timed.
        function, arguments, keywords = self.function, self.arguments(inputs), self.keywords
        if not upstream and keywords:
            return lambda: function(*arguments, **keywords)
        if not upstream:
            return lambda: function(*arguments)
        leaves, given = tuple(self.leaves(inputs).values()), tuple(upstream)
        grad = torch.autograd.grad

        def call() -> object:
            nonlocal given
            own = self.arguments(inputs) if self.writes else arguments
            out = function(*own, **keywords)
            roots = (out,) if isinstance(out, torch.Tensor) else differentiable(out)
            try:
                return out, grad(roots, leaves, given, allow_unused=True)
            except RuntimeError:
                if [one.shape for one in roots] == [one.shape for one in given]:
                    raise
            # the shapes of outputs follow the inputs: those of the next call will be these
            given = tuple(torch.ones_like(one) for one in roots)
            return out, grad(roots, leaves, given, allow_unused=True)

        return call


def differentiable(returned: Any) -> tuple[torch.Tensor, ...]:
    """The tensors among what a call returned that have a gradient, in order."""
    import torch

    return tuple(
        one for _, one in leaves(returned) if isinstance(one, torch.Tensor) and one.requires_grad
    )


def build(
    workload: Workload,
    params: Any,
    config: Config,
    found: LoadedEntry,
    seed: int,
) -> Implementation:
    """Build an implementation and load the parameters that the workload draws for its form.

    Raises:
        AttemptEndedError: unsupported, oom or failed.
    """
    form = found.form or workload.forms[0]
    if form not in workload.forms:
        raise _failed(
            f"states the form {form!r}, but {workload.name} has {', '.join(workload.forms)}"
        )
    names: Sequence[str] = workload.input_names.get(form, ())
    bind = None
    out_dtypes: Mapping[str, tuple[torch.dtype, ...]] = {}
    if isinstance(workload, FileWorkload):
        names = workload.facts.arguments
        reason = workload.calls.unsupported(config)
        if reason:
            raise AttemptEndedError(Outcome.UNSUPPORTED, "NotImplementedError", reason)
    given = {name: getattr(params, name) for name in type(params).model_fields}
    with user_code(may_refuse=True):
        function = callables.make(
            found.value,
            found.name,
            config,
            given,
            names or None,
            old_form=not isinstance(workload, FileWorkload),
        )
    if not callable(function):
        raise _failed(f"build returned {_named(function)}, expected a callable")
    keywords = dict(found.call)
    module = _module_of(function)
    state = {} if workload.state is None else workload.state(config, form, seed)
    if state:
        if module is not None and isinstance(found.value, type):
            _in_dtypes_of(state, module)
        keywords |= _load(function, module, state)
    if isinstance(workload, FileWorkload):
        names, bind = _bound(workload, config, form, seed)
        if workload.calls.out_dtypes is not None:
            out_dtypes = workload.calls.out_dtypes(config)
    with user_code(may_refuse=True):
        function = callables.compiled(function, found.compile)
    return Implementation(
        function,
        config,
        form,
        workload.backward(params),
        tuple(names),
        keywords,
        bind,
        module,
        out_dtypes,
        tuple(workload.writes) if workload.backward(params) else (),
    )


def _bound(
    workload: FileWorkload, config: Config, form: str, seed: int
) -> tuple[tuple[str, ...], Callable[[tuple[torch.Tensor, ...]], tuple[Any, ...]]]:
    """The names of the tensors among the inputs, and what puts the rest around them.

    Raises:
        AttemptEndedError: a problem of a folder, of which the first was checked, draws others from
            the same seed.
    """
    drawn = workload.inputs(config, form, seed)  # its structure is known once it was drawn
    names = workload.calls.input_names(config)
    size = sum(one.numel() * one.element_size() for one in drawn)
    if workload.calls.is_foreign and size <= MOST_DRAWN_TWICE:
        again = workload.inputs(config, form, seed)
        for name, one, other in zip(names, drawn, again, strict=True):
            if not same_bits(one, other):
                raise _failed(
                    f"the problem is at fault, and no implementation: the input {name} has other "
                    "values when it is drawn again with the same seed; seed what draws it"
                )
    return names, lambda tensors: workload.calls.arguments(config, tensors)


def _module_of(function: Any) -> torch.nn.Module | None:
    """The nn.Module that holds the parameters of a callable; under torch.compile it is inside."""
    import torch

    inner = getattr(function, "_orig_mod", function)
    return inner if isinstance(inner, torch.nn.Module) else None


def _in_dtypes_of(state: Mapping[str, torch.Tensor], module: torch.nn.Module) -> None:
    """Give parameters the dtypes in which they are drawn: whoever names a class leaves its making
    to the harness, and a layer is made in float32.
    """
    for name, parameter in module.named_parameters():
        if name in state and parameter.dtype is not state[name].dtype:
            parameter.data = parameter.data.to(state[name].dtype)


def _load(
    function: Any, module: torch.nn.Module | None, state: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Load the state into a module; for a function that takes `state`, the keyword of its calls."""
    if module is None:
        shape = callables.shape_of(function)
        if shape is not None and callables.STATE in shape.names:
            return {callables.STATE: state}
        raise _failed(
            f"build returned {_named(function)}, expected an nn.Module to load parameters into, "
            "or a function that takes them as `state`"
        )
    own = module.state_dict()
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        shapes = {name: tuple(value.shape) for name, value in own.items()}
        wanted = {name: tuple(value.shape) for name, value in state.items()}
        if shapes == wanted:
            raise _failed(str(error)) from error
        raise _failed(
            f"the module has the parameters {_shapes(shapes, wanted)}, "
            f"and the workload's state has {_shapes(wanted, shapes)}: they are loaded by name"
        ) from error
    return {}


def _shapes(ones: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """Those of the one that the others lack, or have in another shape."""
    found = [f"{name} {shape}" for name, shape in ones.items() if others.get(name) != shape]
    return ", ".join(found) or "no others"


def _failed(message: str) -> AttemptEndedError:
    return AttemptEndedError(Outcome.FAILED, "InvalidResult", message)


def _named(value: object) -> str:
    if value is None:
        return "None"
    kind = type(value).__name__
    article = "an" if kind[0].lower() in "aeiou" else "a"
    return f"{article} {kind}"
