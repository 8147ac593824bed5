"""One call of an implementation, as the verifier makes it: its outputs by name, checked for what
they must be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from orchestrator.outcome import Outcome
from orchestrator.usercode.functions import ANY_OUTPUT
from orchestrator.usercode.implementation import AttemptEndedError, Implementation
from orchestrator.verify.expected import named
from orchestrator.workload import Expected

COMPLEX = {
    torch.float16: torch.complex32,
    torch.float32: torch.complex64,
    torch.float64: torch.complex128,
}

WIDEST = {float: torch.float64, complex: torch.complex128}  # of Python's numbers


@dataclass(frozen=True)
class Called:
    """What one call gave.

    Attributes:
        returned: by the call, in its own memory.
        copies: of the tensors in it, made on the current stream as soon as the call returned.
        gradients: by name; empty without a backward pass.
        upstream: the gradient of each floating-point output; gradients were propagated from those
            that have one.
        own: the tensors that the implementation returned.
        seconds: of the process's threads that the call took, gradients included.
        wall_s: seconds that passed meanwhile; 0 where gradients belong to the call.
    """

    returned: Any
    copies: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]
    upstream: dict[str, torch.Tensor]
    own: tuple[torch.Tensor, ...]
    seconds: float = 0.0
    wall_s: float = 0.0


def tensors_of(returned: Any, implementation: Implementation) -> dict[str, torch.Tensor]:
    """The tensors that a call returned, by name.

    Raises:
        AttemptEndedError: failed: a leaf is no plain dense tensor on the trial's device.
    """
    found: dict[str, torch.Tensor] = {}
    for name, leaf in named(returned).items():
        what = "returned" if name == "output" else f"returned for {name}"
        if isinstance(leaf, bool | int | float | complex):
            leaf = torch.tensor(leaf, dtype=WIDEST.get(type(leaf)))
            found[name] = leaf.to(implementation.config.device)
            continue
        if not isinstance(leaf, torch.Tensor):
            raise _failed(f"{what} {_kind(leaf)}, expected a tensor")
        # its values may be computed once someone looks
        if type(leaf) not in (torch.Tensor, torch.nn.Parameter):
            raise _failed(
                f"{what} {_kind(leaf)}, expected a plain torch.Tensor and no class made of it"
            )
        if leaf.layout is not torch.strided:
            raise _failed(
                f"{what} a tensor of layout {leaf.layout}, expected a dense one: return its parts"
            )
        if leaf.device.type != implementation.config.device.type:
            raise _failed(
                f"{what} a tensor on {leaf.device}, expected {implementation.config.device}"
            )
        found[name] = leaf
    return found


def matched(
    returned: Any,
    found: Mapping[str, torch.Tensor],
    expected: Mapping[str, Expected],
    implementation: Implementation,
    inputs: Sequence[torch.Tensor],
) -> dict[str, torch.Tensor]:
    """The tensors that a call returned, by the reference's names; dtypes are those that the trial
    asks for.

    `found` are these tensors, or copies of them, by the names that they have in what was returned.

    A tuple answers for outputs that the reference names in its order. A float of Python's own has
    no dtype, and is taken in the one that is asked for.

    Raises:
        AttemptEndedError: failed: a leaf is missing, too much, or of another dtype.
    """
    found, wanted = dict(found), list(expected)
    leaves = named(returned)
    numbers = {name for name in found if isinstance(leaves.get(name), float | complex)}
    if set(found) != set(wanted):
        in_order = (
            isinstance(returned, tuple | list)
            and len(found) == len(wanted)
            and wanted != ["output"]
        )
        alone = isinstance(returned, torch.Tensor) and len(wanted) == 1
        if not in_order and not alone:
            what = _kind(returned) if wanted == ["output"] else _listed(found)
            raise _failed(f"returned {what}, expected {_listed(wanted)}")
        numbers = {other for name, other in zip(found, wanted, strict=True) if name in numbers}
        found = dict(zip(wanted, found.values(), strict=True))
    first = True
    for name in wanted:
        allowed = _dtypes(name, expected[name].values.dtype, implementation, inputs, first=first)
        first = first and not expected[name].values.is_floating_point()
        if allowed and name in numbers and found[name].is_complex() == allowed[0].is_complex:
            found[name] = found[name].to(allowed[0])
        if allowed and found[name].dtype not in allowed:
            what = "returned" if name == "output" else f"returned for {name}"
            raise _failed(
                f"{what} a tensor of {found[name].dtype}, expected {' or '.join(map(str, allowed))}"
            )
    return found


def _dtypes(
    name: str,
    expected: torch.dtype,
    implementation: Implementation,
    inputs: Sequence[torch.Tensor],
    *,
    first: bool,
) -> tuple[torch.dtype, ...]:
    """What dtypes an output may have; empty: any.

    Integers, bools and floats of eight bits have the reference's own. The first floating output has
    what the trial asks for by `out_dtype` or `dtype`, else that of the first floating input; others
    may be kept in float32, too.
    """
    config = implementation.config.__dict__
    if name in implementation.out_dtypes:
        return implementation.out_dtypes[name]
    stated = config.get("out_dtype")
    if isinstance(stated, Mapping):
        stated = stated.get(name)
    if stated is not None:
        return (getattr(torch, stated) if isinstance(stated, str) else stated,)
    asked = config.get("dtype")
    asked = asked if isinstance(asked, torch.dtype) else None
    if not (expected.is_floating_point or expected.is_complex) or expected.itemsize == 1:
        return (expected,)  # nobody gets eight bits by chance: the reference casts to them
    if ANY_OUTPUT in implementation.out_dtypes and not expected.is_complex:
        return implementation.out_dtypes[ANY_OUTPUT]
    # of inputs of eight bits nobody knows what their products are kept in
    floating = [one.dtype for one in inputs if _has_own_arithmetic(one.dtype)]
    if asked is None:
        if not floating:
            return ()
        asked = floating[0]
    elif first and not (asked.is_floating_point or asked.is_complex):
        return (asked,)
    if expected.is_complex and not asked.is_complex:
        return (COMPLEX.get(asked, torch.complex64),)
    if not expected.is_complex and asked.is_complex:
        return (asked.to_real(),)
    return (asked,) if first or asked in (torch.float32, torch.float64) else (asked, torch.float32)


def _has_own_arithmetic(dtype: torch.dtype) -> bool:
    return (dtype.is_floating_point and dtype.itemsize > 1) or dtype.is_complex


def _listed(names: Mapping[str, Any] | Sequence[str]) -> str:
    found = list(names)
    if not found:
        return "nothing"
    return "one tensor" if found == ["output"] else ", ".join(found)


def _kind(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}" if value is not None else "None"


def _failed(message: str) -> AttemptEndedError:
    return AttemptEndedError(Outcome.FAILED, "InvalidResult", message)
