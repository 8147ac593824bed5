"""What a GPU MODE task's functions draw, answer and check, as a workload's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.usercode.values.answers import alike
from orchestrator.usercode.values.buffers import Buffer, spoilt
from orchestrator.usercode.values.trees import is_tensor, leaves, mapped

NEAR = 2.0**-10  # of two answers to the same question: sums may come in another order


@dataclass(frozen=True)
class _Asked:
    """What the reference tells of some params.

    Attributes:
        buffers: the names of the tensors that are memory for the answer.
        answer: the tree that it returns, with tensors that hold nothing.
        out_dtypes: the dtypes that each output may have, by name.
    """

    buffers: frozenset[str]
    answer: Any
    out_dtypes: dict[str, tuple[Any, ...]]


class TaskData:
    """The functions of one task.

    Args:
        load: the attribute of reference.py of that name.
        takes_seed: whether `generate_input` has a parameter `seed`; else it draws from torch's
            generators.
    """

    def __init__(self, load: Callable[[str], Any], takes_seed: bool = True) -> None:
        self._load = load
        self._takes_seed = takes_seed
        self._known: dict[str, _Asked] = {}
        self._latest = _Asked(frozenset(), None, {})
        self._drawn: tuple[Any, ...] = ()

    def inputs(self, **params: Any) -> tuple[Any]:
        """What `generate_input` returns is one argument, whatever it is."""
        import torch

        seed = {}
        if self._takes_seed:
            seed["seed"] = int(torch.randint(2**31, (), device="cpu"))
        data = (self._load("generate_input")(**params, **seed),)
        key = repr(params)
        if key not in self._known:
            self._known[key] = self._asked(data)
        self._latest = self._known[key]
        self._drawn = mapped(data, lambda leaf: leaf.dtype if is_tensor(leaf) else leaf)
        names = iter([name for name, _ in leaves(data)])
        found: tuple[Any] = mapped(
            data, lambda leaf: Buffer(leaf) if next(names) in self._latest.buffers else leaf
        )
        return found

    @property
    def out_dtypes(self) -> dict[str, tuple[Any, ...]]:
        """The dtypes that each output may have at the latest params, once there are inputs."""
        return self._latest.out_dtypes

    def reference(self, data: Any) -> Any:
        """What the task's own reference answers."""
        return self._load("ref_kernel")(data)

    def judge(
        self, arguments: Sequence[Any], outputs: Mapping[str, Any], _expected: Mapping[str, Any]
    ) -> dict[str, tuple[float, float]]:
        """What the task's own check says of an answer, in the dtypes that it knows."""
        dtypes = iter([leaf for _, leaf in leaves(self._drawn)])
        data = mapped(arguments, lambda leaf: _cast(leaf, next(dtypes)))
        given = iter(outputs.values())
        answer = mapped(
            self._latest.answer,
            lambda leaf: _cast(next(given), leaf.dtype) if is_tensor(leaf) else leaf,
        )
        try:
            said = self._load("check_implementation")(data[0], answer)
        except Exception as error:  # noqa: BLE001 - the task's own runner counts it as wrong, too
            said = False, f"{type(error).__name__}: {error}"
        if isinstance(said, tuple):
            is_right, why = bool(said[0]), str(said[1])
        elif isinstance(said, str):  # older tasks return what is wrong
            is_right, why = not said, said
        else:
            is_right, why = bool(said), ""
        if is_right:
            return {"check_implementation": (0.0, 0.0)}
        return {f"check_implementation ({why})" if why else "check_implementation": (1.0, 0.0)}

    def _asked(self, data: tuple[Any, ...]) -> _Asked:
        """What the reference tells of these params.

        Memory for the answer has the size of an output, and the answer is the same whatever is in
        it.
        """
        first = self.reference(_copied(data)[0])
        kinds = mapped(first, lambda leaf: leaf.to("meta") if is_tensor(leaf) else leaf)
        outputs = [leaf for _, leaf in leaves(kinds) if is_tensor(leaf)]
        found = {}
        for name, leaf in leaves(data):
            if not is_tensor(leaf) or not any(_may_hold(leaf, output) for output in outputs):
                continue
            again = _copied(data)
            _change(dict(leaves(again))[name])
            if self._answers(again, first):
                found[name] = leaf
        return _Asked(frozenset(found), kinds, _dtypes(kinds, list(found.values())))

    def _answers(self, data: tuple[Any, ...], expected: Any) -> bool:
        """Whether the reference answers this."""
        try:
            answer = self.reference(data[0])
        except Exception:  # noqa: BLE001 - it cannot with what was changed, so it reads that
            return False
        return alike(answer, expected, NEAR)


def _may_hold(memory: Any, output: Any) -> bool:
    """Whether an output may be written there; a reference may answer in another float."""
    if memory.numel() != output.numel():
        return False
    both_float = memory.is_floating_point() and output.is_floating_point()
    return bool(both_float or memory.dtype == output.dtype)


def _dtypes(kinds: Any, memory: Sequence[Any]) -> dict[str, tuple[Any, ...]]:
    """The dtypes that each output may have: the reference's, and that of the memory for it."""
    named = {"output": kinds} if is_tensor(kinds) else dict(leaves(kinds))
    found: dict[str, tuple[Any, ...]] = {}
    for name, output in named.items():
        if is_tensor(output):
            held = [one.dtype for one in memory if _may_hold(one, output)]
            found[name] = tuple(dict.fromkeys([*held, output.dtype]))
    return found


def _change(tensor: Any) -> None:
    """Have the tensor hold something else: NaN; of integers, which may be indices, its own values
    in another order, or their neighbours.
    """
    import torch

    if tensor.is_floating_point() or tensor.is_complex():
        spoilt(tensor)
        return
    other = tensor.flatten().flip(0).reshape(tensor.shape)
    tensor.copy_(tensor ^ 1 if torch.equal(other, tensor) else other)


def _copied(data: tuple[Any, ...]) -> tuple[Any, ...]:
    found: tuple[Any, ...] = mapped(data, lambda leaf: leaf.clone() if is_tensor(leaf) else leaf)
    return found


def _cast(leaf: Any, dtype: Any) -> Any:
    return leaf.to(dtype) if is_tensor(leaf) else leaf
