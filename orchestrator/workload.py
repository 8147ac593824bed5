"""The protocol between a workload and the orchestrator: the only module that implementations/ may
import.

A workload is the problem that implementations solve: its params, its inputs, the slow float64 code
that defines the right answer, and formulas for the work done. It is one `Workload` value, made of a
Pydantic model and a few functions; nothing is inherited. Functions that need torch import it
inside, so that a sweep can be validated and reported without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    import torch

Scalar = bool | int | float | str | None


class Config:
    """What `build` receives: every param of the trial as an attribute, read-only.

    Attributes:
        device: torch.device of the trial.
        dtype: torch.dtype, where the workload has a param of that name holding a torch dtype's
            name.
        options: read-only mapping of the implementation's own options.
        anything else: the param of that name, as the workload's model validated it (lists as
        tuples).
    """

    device: torch.device
    dtype: torch.dtype
    options: Mapping[str, Any]

    def __init__(
        self, params: Mapping[str, Any], device: str, options: Mapping[str, Any] | None = None
    ) -> None:
        import torch

        values: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in params.items()
        }
        named = getattr(torch, str(values.get("dtype")), None)
        if isinstance(named, torch.dtype):
            values["dtype"] = named
        values["device"] = torch.device(device)
        values["options"] = MappingProxyType(dict(options or {}))
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"config.{name} is read-only: a trial's params do not change while it runs"
        )

    def __getattr__(self, name: str) -> Any:  # only called for names that are not there
        known = ", ".join(sorted(self.__dict__))
        raise AttributeError(f"this workload has no param {name!r}; config has {known}")

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


@dataclass(frozen=True)
class Work:
    """The useful work of one call.

    Attributes:
        flops: useful floating-point operations.
        bytes: the fewest bytes that must move: each input element needed read once, each output
            written once.
        tokens: tokens processed, or None where the workload has none.
        needed_flops: operations that no method can avoid; bounds what is plausible (default:
            flops).
    """

    flops: float
    bytes: float
    tokens: float | None = None
    needed_flops: float | None = None


@dataclass(frozen=True)
class Problem:
    """One verification: what to compute the right answer of, and in which precision.

    Attributes:
        config: the trial's config.
        form: which calling convention of the workload is in use.
        inputs: the tensors the implementation is called with, at the trial's dtype and device.
        state: parameters loaded into the implementation (empty where the form has none).
        dtype: what to compute in: float64 for the truth, the trial's own dtype for the yardstick of
            the error budget.
        max_flops: above this many operations, answer for sampled rows only.
        seed: draws the sample.
        upstream: gradient of the output when gradients are verified, else None.
    """

    config: Config
    form: str
    inputs: tuple[torch.Tensor, ...]
    state: Mapping[str, torch.Tensor]
    dtype: torch.dtype
    max_flops: float
    seed: int
    upstream: torch.Tensor | None = None


@dataclass(frozen=True)
class Expected:
    """The right answer for some rows of one output; a row is a vector along the last dimension.

    Attributes:
        values: (rows, width), in the precision asked for.
        index: one (rows,) int64 tensor per leading dimension of the output, naming the rows; None:
            all, in order.
        block: (rows,) int64, the block each row belongs to: the error is the largest over blocks,
            so that one wrong head or segment cannot hide in the norm of the rest. None: one block
            per index of the leading dimensions but the last.
        zeros: bool, broadcastable to the output's leading dimensions: rows that must be exactly 0.
            None: no such rows.
    """

    values: torch.Tensor
    index: tuple[torch.Tensor, ...] | None = None
    block: torch.Tensor | None = None
    zeros: torch.Tensor | None = None


Answer = "torch.Tensor | Expected | a tree (tuple, list, dict, NamedTuple, dataclass) of these"
Judge = Callable[
    [Sequence[Any], Mapping[str, Any], Mapping[str, Any]], Mapping[str, tuple[float, float]]
]


def _no_header(_constants: Mapping[str, Any]) -> Sequence[str]:
    return ()


def _one_gpu(_params: BaseModel) -> int:
    return 1


def _precision(params: BaseModel) -> str:
    return str(getattr(params, "dtype", "float32"))


def _forward_only(_params: BaseModel) -> bool:
    return False


@dataclass(frozen=True)
class Workload:
    """A problem with many solutions.

    Attributes:
        name: a slug.
        params: frozen Pydantic model of one trial's params. Contradictions are refused by its
            validators. A field named `device` is filled by the run and is no part of a trial's
            identity.
        inputs: (config, form, seed) -> tensors to call the implementation with, at the trial's
            dtype and device, normal random with unit variance. Same seed, same tensors.
        reference: Problem -> the right answer: a tensor (the whole output), an Expected (some rows
            of it), or a tree of these (tuple, list, dict, NamedTuple, dataclass) where a call has
            several outputs; integers and bools in the outputs' own dtype. When `problem.upstream`
            is given it may answer for gradients, too: a mapping with the keys "output",
            "grad_<input name>" and "grad_<parameter name>"; those that it does not name are worked
            out by autograd in float64.
        work: (params, form) -> Work of one call.
        forms: calling conventions; the first is the default.
        input_names: form -> names of the inputs, for messages and gradients.
        state: (config, form, seed) -> parameters for the harness to load with
            load_state_dict(strict=True), or {}.
        upstream: (problem, output shape) -> gradient of the output for a verifying call; None:
            normal random.
        backward: whether the trial times and verifies the backward pass too.
        precision: params -> a key of the error floors: float64, float32, tf32, float16 or bfloat16.
        gpus: params -> how many GPUs a trial takes on a CUDA device.
        shard: (inputs, rank, world_size) -> that rank's inputs, by indexing alone (narrow, chunk, a
            tensor of indices); an input may be given to several ranks. Where it is there a trial of
            `gpus(params)` > 1 is as many processes, each with a GPU of its own, or a share of the
            CPU's cores, and `config.rank`,
            `config.world_size` and an initialised process group. None: one process, which sees all
            its GPUs.
        gather: the outputs of all ranks, in order of rank -> the whole output, which the reference
            is compared with (torch.cat; torch.stack where every rank has a whole one, which the
            reference then repeats).
        columns: param -> heading, for the params that head the table.
        header: constants of the sweep file (as written) -> lines above the table.
        writes: names of the inputs that a call may change. They are judged like outputs, under
            their names, by what the reference makes of its own copies: it returns a mapping with
            these keys beside "output" (or without it, where a call returns None). A mapping says
            beside each name, in words, which region.
        restore: whether written inputs are put back between calls, outside the timed region; else
            each call finds what the call before left.
        judge: (inputs, outputs, expected) -> name -> (error, allowed), all tensors in float64
            (integers as they are), outputs and expected values by name: for outputs with more than
            one right answer. Right if every error is finite and at most what is allowed. A name, or
            what stands before its first ":", that is an output's replaces the elementwise
            comparison of that output; where no name is, of all outputs.
        stress: the inputs with structure that are tried beside the workload's own (edges, large,
            small, zeros, equal); None: all that the reference allows; (): none, where its domain
            excludes them.
        tolerance: relative error of a block that replaces the rule of verification; None: the rule.
            The sweep file's
            `verify.tolerance` goes before it.
        metrics: name -> formula of further figures, over flops, bytes, tokens, seconds and the
            params.

    What `build` returns may have a method `prepare(*inputs)`. It is called untimed whenever the
    lengths or masks among the inputs change (integers and bools), before a call: for plans that are
    kept by them. Floating-point values change without it. How long it takes is `prepare_ms`.
    """

    name: str
    params: type[BaseModel]
    inputs: Callable[[Config, str, int], tuple[torch.Tensor, ...]]
    reference: Callable[[Problem], Any]
    work: Callable[[Any, str], Work]
    forms: tuple[str, ...] = ("default",)
    input_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    state: Callable[[Config, str, int], Mapping[str, torch.Tensor]] | None = None
    upstream: Callable[[Problem, tuple[int, ...]], torch.Tensor] | None = None
    backward: Callable[[Any], bool] = _forward_only
    precision: Callable[[Any], str] = _precision
    gpus: Callable[[Any], int] = _one_gpu
    shard: Callable[[tuple[torch.Tensor, ...], int, int], Sequence[torch.Tensor]] | None = None
    gather: Callable[[Sequence[torch.Tensor]], torch.Tensor] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    header: Callable[[Mapping[str, Any]], Sequence[str]] = _no_header
    writes: tuple[str, ...] | Mapping[str, str] = ()
    restore: bool = False
    judge: Judge | None = None
    stress: tuple[str, ...] | None = None
    tolerance: float | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Registered:
    """An entry of a registry of implementations.

    Attributes:
        target: "package.module:attribute" of the build function, imported only in a trial's
            process.
        workload: name of the workload it solves.
        form: which of the workload's forms it is called by.
        summary: one line for `list`.
        needs: what it needs beyond torch ("CUDA", "4 GPUs"), for `list`; empty: nothing.
        explain: lines for `list --explain` on how it chooses among what it can do; empty: nothing
            to explain.
    """

    target: str
    workload: str
    form: str
    summary: str
    needs: str = ""
    explain: str = ""
