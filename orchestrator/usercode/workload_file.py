"""A file as a workload: `inputs(...)`, whose parameters are the params of a trial, and
`reference(...)`.

The file is read for its params and imported when one of its functions is first called, so that a
sweep is planned and reported without torch. What `inputs` returns may be any tree of values; the
tensors in it are what the rest of the orchestrator sees as the inputs, in the order of the tree,
and the rest is put around them again for each call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UnknownNameError
from orchestrator.usercode.generators import on_device, seeded
from orchestrator.usercode.registry import Target
from orchestrator.usercode.text import file_facts
from orchestrator.usercode.text.file_facts import FileFacts
from orchestrator.usercode.text.params_model import dtype_params, params_model
from orchestrator.usercode.values.trees import is_tensor, leaves, mapped
from orchestrator.workload import Config, Problem, Work, Workload

if TYPE_CHECKING:
    import torch

    Tensors = tuple[torch.Tensor, ...]

Get = Callable[[str, Config | None], Any]
PRECISIONS = ("float64", "float32", "tf32", "float16", "bfloat16")
TENSOR = object()  # stands in a tree for a tensor


class WorkloadError(Exception):
    """The workload itself is wrong, whatever the implementation."""


@dataclass(frozen=True)
class FileWorkload(Workload):
    """A workload that is a file, or that an adapter makes of one.

    Attributes:
        facts: what it states.
        calls: its functions.
        cases: points that are run where the sweep file states none, or a file of them.
    """

    facts: FileFacts = field(default_factory=lambda: FileFacts((), ()))
    calls: Functions = field(
        default_factory=lambda: Functions(FileFacts((), ()), _nothing), repr=False
    )
    cases: tuple[Mapping[str, Any], ...] | Path = ()

    @property
    def counts_work(self) -> bool:
        """Whether the work of a call is counted, since the file does not state it."""
        return "work" not in self.facts.functions


def load(path: Path) -> FileWorkload:
    """The workload that the file at `path` is; the file is read and not imported.

    Raises:
        UnknownNameError: it does not parse, or is no workload.
    """
    facts = file_facts.read(path)

    def get(name: str, _config: Config | None) -> Any:
        return Target(name, file=path).load()

    try:
        return workload_of(path.stem, facts, get, path)
    except (ValueError, TypeError) as error:
        raise UnknownNameError(f"{path.name}: inputs: {error}") from None


def workload_of(
    name: str,
    facts: FileFacts,
    get: Get,
    path: Path | None = None,
    cases: Sequence[Mapping[str, Any]] = (),
    *,
    finds_writes: bool = False,
) -> FileWorkload:
    """A workload of functions.

    Args:
        name: any text; what a slug may not hold is replaced.
        facts: the params, what is stated, and which functions there are.
        get: (name, config) -> the function of that name, for a trial of that config.
        path: the file whose text states `work`; None: nothing does.
        cases: points that are run where the sweep file states none.
        finds_writes: whether the inputs that `reference` changes are those that a call may change;
            else what is stated.

    Raises:
        ValueError, TypeError: a parameter has no type, or a default breaks its own bounds.
    """
    calls = Functions(facts, get, path)
    if finds_writes:
        calls.writes = Changed(calls)  # type: ignore[assignment]
    stated = facts.values.get("cases") or ()
    if isinstance(stated, str) and path is not None:
        points: tuple[Mapping[str, Any], ...] | Path = path.parent / stated
    else:
        points = tuple(cases or stated)
    backward = bool(facts.values.get("backward", False))
    stress = facts.values.get("stress")
    return FileWorkload(
        name=re.sub(r"[^A-Za-z0-9._-]", "_", name),
        params=params_model(f"{name}_params", facts.parameters),
        inputs=calls.inputs,
        reference=calls.reference,
        work=calls.work,
        state=calls.state if "state" in facts.functions else None,
        backward=lambda _params: backward,
        precision=lambda given: _precision(facts, given),
        columns=facts.values.get("columns") or {},
        writes=calls.writes,
        restore=bool(facts.values.get("restore", False)),
        judge=calls.judge if "judge" in facts.functions else None,
        stress=None if stress is None else tuple(stress),
        tolerance=facts.values.get("tolerance"),
        metrics=facts.values.get("metrics") or {},
        facts=facts,
        calls=calls,
        cases=points,
    )


def _nothing(name: str, _config: Config | None) -> Any:
    raise AttributeError(name)


def _writes(facts: FileFacts) -> tuple[str, ...] | Mapping[str, str]:
    stated = facts.values.get("writes") or ()
    if isinstance(stated, Mapping):
        return stated
    return (stated,) if isinstance(stated, str) else tuple(stated)


def _precision(facts: FileFacts, params: Any) -> str:
    """What the trial computes in: as the file states, else the param `dtype`, else float32."""
    stated = facts.values.get("precision") or getattr(params, "dtype", None)
    return stated if stated in PRECISIONS else "float32"


class Functions:
    """The functions of a workload, found when first called.

    Args:
        facts: what it states.
        get: (name, config) -> the function of that name, for a trial of that config; None: whatever
            the trial.
        path: the file whose text states `work`; None: nothing does.
    """

    def __init__(self, facts: FileFacts, get: Get, path: Path | None = None) -> None:
        self._facts = facts
        self.get = get
        self._path = path
        self._dtypes = dtype_params(facts.parameters)
        self.writes = _writes(facts)
        self._trees: dict[str, Any] = {}
        self._latest: Any = ()
        self._latest_config: Config | None = None

    @property
    def has_drawn(self) -> bool:
        """Whether inputs were drawn, so that the reference can be asked."""
        return self._latest_config is not None

    def values(self, config: Config) -> dict[str, Any]:
        """The params as the file's functions take them: dtypes are torch's own."""
        import torch

        found: dict[str, Any] = {}
        for parameter in self._facts.parameters:
            value = getattr(config, parameter.name)
            if parameter.name in self._dtypes and isinstance(value, str):
                value = getattr(torch, value)
            found[parameter.name] = list(value) if isinstance(value, tuple) else value
        return found

    def inputs(self, config: Config, _form: str, seed: int) -> Tensors:
        """The tensors of what `inputs` returns; the same seed gives the same.

        Raises:
            WorkloadError: what is not a tensor, or a shape, follows the seed.
        """
        given = self.values(config)
        with seeded(seed, config.device):
            drawn = self.get("inputs", config)(**given)
        tree = self._as_arguments(drawn)
        found = tuple(leaf.detach() for _, leaf in leaves(tree) if is_tensor(leaf))
        self._latest_config = config
        self._remember(repr(given), mapped(tree, lambda leaf: TENSOR if is_tensor(leaf) else leaf))
        return found

    def _as_arguments(self, drawn: Any) -> tuple[Any, ...]:
        """What `inputs` returned, as positional arguments."""
        names = self._facts.arguments
        if isinstance(drawn, Mapping) and set(drawn) == set(names):
            return tuple(drawn[name] for name in names)
        is_plain_tuple = isinstance(drawn, tuple) and not hasattr(drawn, "_fields")
        arguments = drawn if is_plain_tuple else (drawn,)
        if not any(name.startswith("*") for name in names) and len(arguments) > len(names):
            raise WorkloadError(
                f"inputs returns {len(arguments)} values, and reference takes {len(names)} ({', '.join(names)}); "
                "a tuple is taken as its arguments"
            )
        return arguments

    def _remember(self, key: str, tree: Any) -> None:
        self._latest = tree
        known = self._trees.setdefault(key, tree)
        before, now = dict(leaves(known)), dict(leaves(tree))
        if list(before) != list(now):
            raise WorkloadError(
                f"the structure of what inputs returns follows the seed: {', '.join(before)}, then {', '.join(now)}"
            )
        for name, leaf in now.items():
            if (leaf is TENSOR) != (before[name] is TENSOR) or (
                leaf is not TENSOR and not _same(leaf, before[name])
            ):
                raise WorkloadError(
                    f"the input {self._spelled(name)} follows the seed: {before[name]!r}, then {leaf!r}; "
                    "what is no tensor must be the same for every seed: take it from the params"
                )

    def _spelled(self, name: str) -> str:
        """The name of a leaf with the argument's own name: [1].key -> cache.key."""
        number, bracket, rest = name.removeprefix("[").partition("]")
        names = self._facts.arguments
        if bracket and number.isdigit() and int(number) < len(names):
            return f"{names[int(number)].removeprefix('*')}{rest}"
        return name

    def input_names(self, config: Config) -> tuple[str, ...]:
        """The names of the tensors that `inputs` gives, once it was called."""
        tree = self._trees[repr(self.values(config))]
        return tuple(self._spelled(name) for name, leaf in leaves(tree) if leaf is TENSOR)

    def arguments(self, config: Config, tensors: Tensors) -> tuple[Any, ...]:
        """What a function is called with: the tree that `inputs` made, with these tensors in it."""
        tree = self._trees[repr(self.values(config))]
        waiting = iter(tensors)
        arguments: tuple[Any, ...] = mapped(
            tree, lambda leaf: next(waiting) if leaf is TENSOR else leaf
        )
        return arguments

    def reference(self, problem: Problem) -> Any:
        """What `reference` returns for the problem's inputs in the problem's dtype.

        Gradients are followed where an input or a parameter asks for its own. Where inputs are
        written: a mapping with what it leaves in them, by their names, beside the outputs.
        """
        import torch

        writes = self.writes
        tensors = [in_precision(tensor, problem.dtype) for tensor in problem.inputs]
        names = self.input_names(problem.config)
        for number, name in enumerate(names):
            if name in writes and tensors[number] is problem.inputs[number]:
                tensors[number] = tensors[number].clone()
        keywords = {}
        if self._facts.takes_state:
            keywords["state"] = {
                name: in_precision(tensor, problem.dtype) for name, tensor in problem.state.items()
            }
        tracked = any(
            tensor.requires_grad for tensor in (*tensors, *keywords.get("state", {}).values())
        )
        device = problem.inputs[0].device if problem.inputs else problem.config.device
        with on_device(device), torch.set_grad_enabled(tracked):
            answer = self.get("reference", problem.config)(
                *self.arguments(problem.config, tuple(tensors)), **keywords
            )
        if not writes:
            return answer
        written = {
            name: tensor for name, tensor in zip(names, tensors, strict=True) if name in writes
        }
        if answer is None:
            return written
        if is_tensor(answer):
            return {"output": answer, **written}
        return {**dict(leaves(answer)), **written}

    def judge(
        self,
        inputs: Sequence[torch.Tensor],
        outputs: Mapping[str, Any],
        expected: Mapping[str, Any],
    ) -> Mapping[str, tuple[float, float]]:
        """What `judge` says; it is given the inputs as `reference` is."""
        waiting = iter(inputs)
        arguments = mapped(self._latest, lambda leaf: next(waiting) if leaf is TENSOR else leaf)
        found: Mapping[str, tuple[float, float]] = self.get("judge", None)(
            arguments, outputs, expected
        )
        return found

    def changed(self) -> tuple[str, ...]:
        """The names of the inputs that the reference changes, at the params of the latest draw."""
        config = self._latest_config
        if config is None:
            return ()
        drawn = self.inputs(config, "", 0)
        used = tuple(tensor.clone() for tensor in drawn)
        with on_device(config.device):
            self.get("reference", config)(*self.arguments(config, used))
        pairs = zip(self.input_names(config), drawn, used, strict=True)
        return tuple(name for name, before, after in pairs if not before.equal(after))

    def state(self, config: Config, _form: str, seed: int) -> Mapping[str, torch.Tensor]:
        """The parameters that the harness draws and loads into an implementation."""
        with seeded(seed, config.device):
            drawn: Mapping[str, torch.Tensor] = self.get("state", config)(**self.values(config))
        return {name: tensor.detach() for name, tensor in drawn.items()}

    def work(self, params: Any, _form: str) -> Work:
        """The work that the file states; none where it is to be counted."""
        if self._path is None or "work" not in self._facts.functions:
            return Work(flops=0.0, bytes=0.0)
        from orchestrator.usercode.text.stated_work import stated_work

        return stated_work(self._path, params, self._dtypes)

    def unsupported(self, config: Config) -> str:
        """Why the workload says that it has no such trial; empty: it has."""
        if "unsupported" not in self._facts.functions:
            return ""
        return str(self.get("unsupported", config)(**self.values(config)) or "")

    def counted_work(self, config: Config, tensors: Tensors) -> Work:
        """The bytes of inputs and outputs, and the FLOPs that torch counts."""
        from orchestrator.usercode.text.stated_work import counted_work

        keywords = {}
        if self._facts.takes_state:
            keywords["state"] = self.state(config, "", 0)
        function = self.get("reference", config)
        return counted_work(
            self.arguments(config, tensors), lambda *given: function(*given, **keywords)
        )


class Changed(Sequence[str]):
    """The names of the inputs that a reference changes, found once they are asked for.

    Args:
        calls: the functions of the workload.
    """

    def __init__(self, calls: Functions) -> None:
        self._calls = calls
        self._found: tuple[str, ...] | None = None

    def _names(self) -> tuple[str, ...]:
        if self._found is None:
            found = self._calls.changed()
            if self._calls.has_drawn:
                self._found = found
            return found
        return self._found

    def __getitem__(self, index: Any) -> Any:
        return self._names()[index]

    def __len__(self) -> int:
        return len(self._names())


def in_precision(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tensor as a reference takes it: in float64, where that is asked, or as it is; complex in
    complex128.
    """
    import torch

    if dtype is not torch.float64:
        return tensor
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other) or one != one  # NaN is what it was
    except Exception:  # noqa: BLE001 - a user's value that cannot be compared is not held against anyone
        return True
