"""The implementation under test: built, called, and user_code for whatever it raises."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.files import PACKAGE
from orchestrator.outcome import Outcome
from orchestrator.usercode import callables
from orchestrator.usercode.callables import LoadedEntry
from orchestrator.usercode.oom import is_out_of_memory
from orchestrator.usercode.workload_file import FileWorkload

if TYPE_CHECKING:
    import torch

    from orchestrator.workload import Config, Workload

_LIBRARIES = tuple({str(Path(traceback.__file__).parent), *(path for path in sys.path if path.endswith("-packages"))})
_HARNESS = str(PACKAGE)


class AttemptEndedError(Exception):
    """An attempt that has its outcome before the end: which, of what kind, and why in a few words."""

    def __init__(self, outcome: Outcome, kind: str, message: str) -> None:
        self.outcome = outcome
        self.kind = kind
        self.message = message
        super().__init__(f"{outcome.value}: {kind}: {message}")


@contextmanager
def user_code(*, building: bool = False) -> Iterator[None]:
    """Run the implementation's own code; what it raises becomes its outcome.

    Raises:
        AttemptEndedError: oom; unsupported, for a NotImplementedError while `building`; else failed,
        SystemExit included.
    """
    try:
        yield
    except AttemptEndedError:
        raise
    except BaseException as error:
        outcome = Outcome.OOM if is_out_of_memory(error) else Outcome.FAILED
        if building and isinstance(error, NotImplementedError):
            outcome = Outcome.UNSUPPORTED
        raise AttemptEndedError(outcome, type(error).__name__, in_brief(error)) from error


def in_brief(error: BaseException) -> str:
    """What the exception says, and the last line of the user's own code that it passed through."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a user's exception may have a broken __str__
        text = "(its text cannot be had: its __str__ raises)"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith((_HARNESS, *_LIBRARIES, "<frozen"))]
    if not theirs:
        return text or type(error).__name__
    place = f"({Path(theirs[-1].filename).name}:{theirs[-1].lineno} in {theirs[-1].name})"
    return f"{text} {place}" if text else place


@dataclass(frozen=True)
class Implementation:
    """An implementation that was built, and how the workload wants it called.

    Attributes:
        function: what is called: what `build` returned, or the implementation itself; compiled, where that is asked.
        backward: whether gradients of its inputs and parameters belong to a call.
        input_names: for messages and gradients, one per input.
        keywords: of every call.
        bind: puts around the tensors what else a call is given; None: nothing.
        module: what holds its parameters; None: it has none.
    """

    function: Callable[..., Any]
    config: Config
    form: str
    backward: bool
    input_names: tuple[str, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    bind: Callable[[tuple[torch.Tensor, ...]], tuple[Any, ...]] | None = None
    module: torch.nn.Module | None = None

    def arguments(self, inputs: tuple[torch.Tensor, ...]) -> tuple[Any, ...]:
        """What the function is called with."""
        return inputs if self.bind is None else self.bind(inputs)

    def output(self, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """One call, its result checked for type, dtype and device.

        Raises:
            AttemptEndedError: it raised, or returned no tensor of the right kind.
        """
        import torch

        arguments = self.arguments(inputs)
        with user_code(), torch.set_grad_enabled(self.backward):
            out = self.function(*arguments, **self.keywords)
        if (left := _modes_left_on()) is not None:
            raise _failed(f"left a {left} on, which may put off what it computes until someone looks at it")
        if not isinstance(out, torch.Tensor):
            raise _failed(f"returned {_named(out)}, expected one tensor")
        if type(out) not in (torch.Tensor, torch.nn.Parameter):  # its values may be computed once someone looks
            raise _failed(f"returned {_named(out)}, expected a plain torch.Tensor and no class made of it")
        wanted = self.config.__dict__.get("dtype", inputs[0].dtype)
        if out.dtype != wanted:
            raise _failed(f"returned a tensor of {out.dtype}, expected {wanted}")
        if out.device.type != self.config.device.type:
            raise _failed(f"returned a tensor on {out.device}, expected {self.config.device}")
        if self.backward and not out.requires_grad:
            raise _failed("returned a tensor without a gradient, but direction is forward_backward")
        return out

    def gradients(
        self, out: torch.Tensor, inputs: tuple[torch.Tensor, ...], upstream: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The gradients of inputs and parameters by name ("grad_q"); 0 for what the output does not depend on."""
        import torch

        leaves = dict(zip(self.input_names, inputs, strict=True)) | self.parameters()
        with user_code():
            found = torch.autograd.grad(out, tuple(leaves.values()), upstream, allow_unused=True)
        pairs = zip(leaves.items(), found, strict=True)
        return {f"grad_{name}": torch.zeros_like(leaf) if grad is None else grad for (name, leaf), grad in pairs}

    def _keeping(self, kept: list[torch.Tensor]) -> Callable[..., Any]:
        function = self.function

        def call(*arguments: Any, **keywords: Any) -> Any:
            kept.clear()  # before the next one is made: a call that is kept needs no more room than another
            out = function(*arguments, **keywords)
            kept.append(out)
            return out

        return call

    def parameters(self) -> dict[str, torch.Tensor]:
        """Its trainable parameters by name; none, unless it is an nn.Module."""
        if self.module is None:
            return {}
        return {name: value for name, value in self.module.named_parameters() if value.requires_grad}

    def timed(
        self, inputs: tuple[torch.Tensor, ...], upstream: torch.Tensor | None, kept: list[torch.Tensor] | None = None
    ) -> Callable[[], object]:
        """A call without checks, for a clock: forward, and backward into fresh gradients where `upstream` is given.

        Gradients are returned, not accumulated, so that there is nothing to clear between calls. `kept` takes the
        latest output, where one is to be looked at.
        """
        import torch

        function = self.function if kept is None else self._keeping(kept)
        arguments, keywords = self.arguments(inputs), self.keywords
        if upstream is None:
            return (lambda: function(*arguments, **keywords)) if keywords else (lambda: function(*arguments))
        leaves, grad = (*inputs, *self.parameters().values()), torch.autograd.grad
        return lambda: grad(function(*arguments, **keywords), leaves, upstream, allow_unused=True)


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
        raise _failed(f"states the form {form!r}, but {workload.name} has {', '.join(workload.forms)}")
    state = {} if workload.state is None else workload.state(config, form, seed)
    names: Sequence[str] = workload.input_names.get(form, ())
    bind = None
    if isinstance(workload, FileWorkload):
        names = workload.facts.arguments
        if reason := workload.calls.unsupported(config):
            raise AttemptEndedError(Outcome.UNSUPPORTED, "NotImplementedError", reason)
    given = {name: getattr(params, name) for name in type(params).model_fields}
    with user_code(building=True):
        function = callables.make(
            found.value, found.name, config, given, names or None, old_form=not isinstance(workload, FileWorkload)
        )
    if not callable(function):
        raise _failed(f"build returned {_named(function)}, expected a callable")
    keywords = dict(found.call)
    module = _module_of(function)
    if state:
        keywords |= _load(function, module, state)
    if isinstance(workload, FileWorkload):
        names, bind = _bound(workload, config, form, seed)
    with user_code(building=True):
        function = callables.compiled(function, found.compile)
    return Implementation(function, config, form, workload.backward(params), tuple(names), keywords, bind, module)


def _bound(
    workload: FileWorkload, config: Config, form: str, seed: int
) -> tuple[tuple[str, ...], Callable[[tuple[torch.Tensor, ...]], tuple[Any, ...]]]:
    """The names of the tensors among the inputs, and what puts the rest around them."""
    workload.inputs(config, form, seed)  # its structure is known once it was drawn
    return workload.calls.input_names(config), lambda tensors: workload.calls.arguments(config, tensors)


def _module_of(function: Any) -> torch.nn.Module | None:
    """The nn.Module that holds the parameters of a callable; under torch.compile it is inside."""
    import torch

    inner = getattr(function, "_orig_mod", function)
    return inner if isinstance(inner, torch.nn.Module) else None


def _load(function: Any, module: torch.nn.Module | None, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Load the state into a module; for a function that takes `state`, the keyword of its calls."""
    if module is None:
        shape = callables.shape_of(function)
        if shape is not None and callables.STATE in shape.names:
            return {callables.STATE: state}
        raise _failed(
            f"build returned {_named(function)}, expected an nn.Module to load parameters into, or a function that "
            "takes them as `state`"
        )
    with user_code():
        module.load_state_dict(state, strict=True)
    return {}


def _modes_left_on() -> str | None:
    """The name of a mode of torch that outlives the call; the one of `torch.set_default_device` computes nothing."""
    from torch.overrides import _get_current_function_mode_stack
    from torch.utils._device import DeviceContext
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    modes = (*_get_current_function_mode_stack(), *_get_current_dispatch_mode_stack())  # type: ignore[no-untyped-call]
    found = [mode for mode in modes if not isinstance(mode, DeviceContext)]
    return type(found[-1]).__name__ if found else None


def _failed(message: str) -> AttemptEndedError:
    return AttemptEndedError(Outcome.FAILED, "InvalidResult", message)


def _named(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}" if value is not None else "None"
