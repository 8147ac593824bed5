"""The functions of a workload that is a file, as the harness calls them.

What `inputs` returns may be any tree of values. The tensors in it are what the rest of the
orchestrator sees as the inputs, in the order of the tree; the rest is put around them again for
each call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.usercode.callables import shape_of
from orchestrator.usercode.generators import on_device, same_bits, seeded
from orchestrator.usercode.oom import is_out_of_memory
from orchestrator.usercode.text.file_facts import FileFacts
from orchestrator.usercode.text.params_model import dtype_params
from orchestrator.usercode.values.buffers import Buffer
from orchestrator.usercode.values.trees import is_tensor, leaves, mapped
from orchestrator.workload import Config, Problem, Work

if TYPE_CHECKING:
    import torch

    Tensors = tuple[torch.Tensor, ...]

Get = Callable[[str, Config | None], Any]
TENSOR = object()  # stands in a tree for a tensor
ANY_OUTPUT = "*"  # in `out_dtypes`: whatever it is called, if it is floating-point
SCRATCH = "scratch"  # in `writes`: what a call leaves in that input is no output


class WorkloadError(Exception):
    """The workload itself is wrong, whatever the implementation."""


class Functions:
    """The functions of a workload, found when first called.

    Args:
        facts: what it states.
        get: (name, config) -> the function of that name, for a trial of that config; None: whatever
            the trial.
        path: the file whose text states `work`; None: nothing does.
        widens: whether the reference is of another format, and computes in dtypes of its own: where
            float64 is asked for, its casts to float32, float16 and bfloat16 are left out. A
            reference that cannot be computed so is computed in its own dtypes.
        out_dtypes: config -> the dtypes that outputs may have, by name, once `inputs` was called;
            None: they follow the inputs' dtype.

    Attributes:
        writes: names of the inputs that a call may change.
        scratch: config -> whether it is worth to ask which those are, where what a call leaves in
            them is no output; None: it is one.
    """

    def __init__(
        self,
        facts: FileFacts,
        get: Get,
        path: Path | None = None,
        *,
        widens: bool = False,
        out_dtypes: Callable[[Config], Mapping[str, tuple[torch.dtype, ...]]] | None = None,
    ) -> None:
        self._facts = facts
        self.get = get
        self.is_foreign = widens
        self._widens = widens
        self._as_it_stands = False  # whether the reference turned out to know no float64
        self.out_dtypes = out_dtypes
        self._path = path
        self._dtypes = dtype_params(facts.parameters)
        self.writes = _writes(facts)
        self.scratch: Callable[[Config], bool] | None = None
        self._trees: dict[str, Any] = {}
        self._latest: Any = ()
        self._latest_config: Config | None = None

    @property
    def latest_config(self) -> Config | None:
        """Of the trial that inputs were drawn for; None: they were not."""
        return self._latest_config

    def values(self, config: Config) -> dict[str, Any]:
        """The params as the file's functions take them: a dtype is torch's own, or its name where
        the parameter is a `str` or a Literal.
        """
        import torch

        found: dict[str, Any] = {}
        for parameter in self._facts.parameters:
            value = getattr(config, parameter.name)
            if parameter.name in self._dtypes and isinstance(value, str):
                value = getattr(torch, value)
            elif parameter.name not in self._dtypes and isinstance(value, torch.dtype):
                value = str(value).removeprefix("torch.")
            found[parameter.name] = list(value) if isinstance(value, tuple) else value
        return found

    def inputs(self, config: Config, _form: str, seed: int) -> Tensors:
        """The tensors of what `inputs` returns; the same seed gives the same.

        Raises:
            WorkloadError: what is not a tensor, or a shape, follows the seed.
        """
        given = self.values(config)
        with seeded(seed, config.device):
            drawn = self._imported("inputs", config)(**given)
        tree = self._as_arguments(drawn)
        found = tuple(leaf.detach() for _, leaf in leaves(tree) if is_tensor(leaf))
        self._latest_config = config
        self._remember(repr(given), mapped(tree, lambda leaf: TENSOR if is_tensor(leaf) else leaf))
        return found

    def _imported(self, name: str, config: Config) -> Any:
        """The function of that name. What its file draws when it is imported comes from a seed of
        its own, so that the first draw is like later ones.
        """
        with seeded(0, config.device):
            return self.get(name, config)

    def _as_arguments(self, drawn: Any) -> tuple[Any, ...]:
        """What `inputs` returned, as positional arguments."""
        names = self._facts.arguments
        if isinstance(drawn, Mapping):
            if set(drawn) == set(names):
                return tuple(drawn[name] for name in names)
            if len(names) > 1 and set(drawn) & set(names):
                raise WorkloadError(
                    f"inputs returns a dict of {', '.join(map(str, drawn))}, and reference takes "
                    f"{', '.join(names)}: a dict with these names is taken as its arguments"
                )
        is_plain_tuple = isinstance(drawn, tuple) and not hasattr(drawn, "_fields")
        arguments = drawn if is_plain_tuple else (drawn,)
        if not any(name.startswith("*") for name in names) and len(arguments) > len(names):
            raise WorkloadError(
                f"inputs returns {len(arguments)} values, and reference takes {len(names)} "
                f"({', '.join(names)}); a tuple is taken as its arguments"
            )
        return arguments

    def _remember(self, key: str, tree: Any) -> None:
        self._latest = tree
        known = self._trees.setdefault(key, tree)
        before, now = dict(leaves(known)), dict(leaves(tree))
        if list(before) != list(now):
            raise WorkloadError(
                f"the structure of what inputs returns follows the seed: {', '.join(before)}, "
                f"then {', '.join(now)}"
            )
        for name, leaf in now.items():
            was = before[name]
            if leaf is TENSOR and was is TENSOR:
                continue  # its values follow the seed, as they should
            if leaf is TENSOR or was is TENSOR or not _same(leaf, was):
                instead = "take it from the params"
                if self.is_foreign:  # whose inputs see no params
                    instead = "write it down as a constant, or give it as a tensor"
                raise WorkloadError(
                    f"the input {self._spelled(name)} follows the seed: {was!r}, then {leaf!r}; "
                    f"what is not a tensor must be the same for every seed: {instead}"
                )

    def _spelled(self, name: str) -> str:
        """The name of a leaf with the argument's own name: [1].key -> cache.key."""
        number, bracket, rest = name.removeprefix("[").partition("]")
        names = self._facts.arguments
        if not bracket or not number.isdigit():
            return name
        if int(number) < len(names) and not names[int(number)].startswith("*"):
            return f"{names[int(number)]}{rest}"
        if names and names[-1].startswith("*"):
            return f"{names[-1].removeprefix('*')}[{int(number) - len(names) + 1}]{rest}"
        return name

    def _of_params(self, name: str, config: Config) -> Any:
        """What a function of the file returns that takes any of the params."""
        function, given = self._imported(name, config), self.values(config)
        shape = shape_of(function)
        if shape is not None and not shape.any_keyword:
            given = {one: value for one, value in given.items() if one in shape.names}
        return function(**given)

    def input_names(self, config: Config) -> tuple[str, ...]:
        """The names of the tensors that `inputs` gives, once it was called."""
        tree = self._trees[repr(self.values(config))]
        return tuple(self._spelled(name) for name, leaf in leaves(tree) if leaf is TENSOR)

    def arguments(self, config: Config, tensors: Tensors, *, wide: bool = False) -> tuple[Any, ...]:
        """What a function is called with: the tree that `inputs` made, with these tensors in it.

        Buffers in it are made anew, `wide` ones in float64.
        """
        device = tensors[0].device if tensors else config.device
        tree = self._trees[repr(self.values(config))]
        arguments: tuple[Any, ...] = _filled(tree, iter(tensors), device, wide)
        return arguments

    def reference(self, problem: Problem) -> Any:
        """What `reference` returns for the problem's inputs in the problem's dtype.

        Gradients are followed where an input or a parameter asks for its own. Where inputs are
        written: a mapping with what it leaves in them, by their names, beside the outputs.
        """
        import torch

        if not self._widens or problem.dtype is not torch.float64:
            return self._answer(problem, problem.dtype)
        if self._as_it_stands:
            return self._answer(problem, None)
        from orchestrator.usercode.values.widened import widened

        try:
            with widened():
                return self._answer(problem, problem.dtype)
        except Exception as error:
            if is_out_of_memory(error):
                raise
        answer = self._answer(problem, None)
        self._as_it_stands = True  # what it calls knows no float64: it will not later either
        return answer

    def _answer(self, problem: Problem, dtype: torch.dtype | None) -> Any:
        """What `reference` returns for the inputs in `dtype`; None: as they were drawn."""
        import torch

        writes = self.writes
        tensors = [in_precision(tensor, dtype) for tensor in problem.inputs]
        names = self.input_names(problem.config)
        for number, name in enumerate(names):
            if name in writes and tensors[number] is problem.inputs[number]:
                tensors[number] = tensors[number].clone()
        state: dict[str, torch.Tensor] = {}
        keywords = {}
        if self._facts.takes_state:
            for name, tensor in problem.state.items():
                state[name] = in_precision(tensor, dtype)
            keywords["state"] = state
        tracked = any(tensor.requires_grad for tensor in (*tensors, *state.values()))
        device = problem.inputs[0].device if problem.inputs else problem.config.device
        arguments = self.arguments(problem.config, tuple(tensors), wide=dtype is torch.float64)
        with on_device(device), torch.set_grad_enabled(tracked):
            answer = self.get("reference", problem.config)(*arguments, **keywords)
        if not writes:
            return answer
        pairs = zip(names, tensors, strict=True)
        written = {name: tensor for name, tensor in pairs if self._is_judged(name)}
        if answer is None:
            return written
        if is_tensor(answer):
            return {"output": answer, **written}
        return {**dict(leaves(answer)), **written}

    def _is_judged(self, name: str) -> bool:
        """Whether a call may change this input, and what it leaves there is an output."""
        if self.scratch is not None or name not in self.writes:
            return False
        return not isinstance(self.writes, Mapping) or self.writes[name] != SCRATCH

    def judge(
        self,
        inputs: Sequence[torch.Tensor],
        outputs: Mapping[str, Any],
        expected: Mapping[str, Any],
    ) -> Mapping[str, tuple[float, float]]:
        """What `judge` says; it is given the inputs as `reference` is, and the params that it
        names beside: all tensors are wide, so that the trial's dtype tells what rounding is.
        """
        device = inputs[0].device if inputs else "cpu"
        arguments = _filled(self._latest, iter(inputs), device, wide=True)
        function, config = self.get("judge", None), self._latest_config
        shape, given = shape_of(function), {}
        if shape is not None and config is not None:
            taken = (*(*shape.required, *shape.optional)[3:], *shape.keywords)
            given = {name: one for name, one in self.values(config).items() if name in taken}
        found: Mapping[str, tuple[float, float]] = function(arguments, outputs, expected, **given)
        return found

    def changed(self) -> tuple[str, ...]:
        """The names of the inputs that the reference changes, at the params of the latest draw."""
        config = self._latest_config
        if config is None or (self.scratch is not None and not self.scratch(config)):
            return ()
        drawn = self.inputs(config, "", 0)
        used = tuple(tensor.clone() for tensor in drawn)
        keywords = {"state": self.state(config, "", 0)} if self._facts.takes_state else {}
        with on_device(config.device):
            self.get("reference", config)(*self.arguments(config, used), **keywords)
        pairs = zip(self.input_names(config), drawn, used, strict=True)
        return tuple(name for name, before, after in pairs if not same_bits(before, after))

    def state(self, config: Config, _form: str, seed: int) -> Mapping[str, torch.Tensor]:
        """The parameters that the harness draws and loads into an implementation.

        Raises:
            WorkloadError: it returns something else than tensors by name.
        """
        with seeded(seed, config.device):
            drawn = self._of_params("state", config)
        if not isinstance(drawn, Mapping):
            raise WorkloadError(
                f"state returns a {type(drawn).__name__}, and must return a dict of tensors by "
                'name: {"weight": torch.randn(...)}'
            )
        for name, tensor in drawn.items():
            if not is_tensor(tensor):
                raise WorkloadError(
                    f"state returns a {type(tensor).__name__} for {name}, and must return a dict "
                    "of tensors: give torch.tensor(...) in its place"
                )
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
        return str(self._of_params("unsupported", config) or "")

    def counted_work(self, config: Config, tensors: Tensors) -> Work:
        """The bytes of inputs and outputs, and the FLOPs that torch counts."""
        from orchestrator.usercode.text.stated_work import counted_work

        keywords = {}
        if self._facts.takes_state:
            keywords["state"] = self.state(config, "", 0)
        function = self.get("reference", config)
        with on_device(config.device):
            return counted_work(
                tensors,
                self.arguments(config, tensors),
                lambda *given: function(*given, **keywords),
            )


def _filled(tree: Any, tensors: Iterator[torch.Tensor], device: Any, wide: bool) -> Any:
    """The tree with these tensors, and memory for its buffers."""

    def leaf_of(leaf: Any) -> Any:
        if leaf is TENSOR:
            return next(tensors)
        if isinstance(leaf, Buffer):
            return leaf.made(device, wide=wide)
        return leaf

    return mapped(tree, leaf_of)


def in_precision(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """The tensor as a reference takes it: in float64, where that is asked, or as it is; complex in
    complex128.
    """
    import torch

    if dtype is not torch.float64:
        return tensor
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    if tensor.is_floating_point():
        return tensor.to(dtype)
    return tensor


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other) or one != one  # NaN is what it was
    except Exception:  # noqa: BLE001 - a user's value that cannot be compared is no fault
        return True


def _writes(facts: FileFacts) -> tuple[str, ...] | Mapping[str, str]:
    stated = facts.values.get("writes") or ()
    if isinstance(stated, Mapping):
        return stated
    if isinstance(stated, str):
        return (stated,)
    return tuple(stated)
