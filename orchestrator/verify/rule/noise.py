"""Draws of a reference: the same float64 computation, each of whose operations errs at random.

How far the draws lie apart is what rounding explains of an output of this problem, at its own
conditioning: the unit in which `limits` counts errors. The reference runs under a dispatch mode of
torch, which sees every operation, autograd's included, and multiplies what it computes by 1 + size
* xi, xi uniform in [-1, 1].

Stochastic arithmetic of this kind is known from CESTAC (Vignes 1993) and Monte Carlo arithmetic
(Parker 1997).
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.verify.rule.operations import (
    APPROXIMATED,
    COMPOSED,
    CONTRACTIONS,
    DECOMPOSED,
    FIRST_OF_TIES,
    OF_WHOLE_NUMBERS,
    OPEN_TIES,
    PLACES,
    RESAMPLED,
    growth,
    is_move,
    jumps,
    name_of,
    results_of,
)
from orchestrator.verify.rule.precisions import UNITS
from orchestrator.workload import Problem

if TYPE_CHECKING:
    from torch._ops import OpOverload

Result = TypeVar("Result")
# whether inputs that are equal stay equal, of whichever tensors; or err independently; or as is
# cheap: so in half precision, and not in float32
Ties = Literal["as they come", "kept", "broken"]

TF32_OPERANDS = 2.0**-11  # what the tensor cores keep of a float32 operand
ACCUMULATOR = 2.0**-24  # sums are kept in float32 or better; in float64 for float64
APPROXIMATION = 4.0  # units of the accumulator that exp, erf and their like may be off by
# a stretch of one pool costs a fourteenth of fresh random numbers; odd, so that it shifts
POOL = 2**18 + 7
MIXER = -0x61C8864680B583EB  # odd; products with it spread over all bits
HALF = 2.0**-11  # unit roundoff from which on many values round alike
SMALL = 2**15  # tensors up to this size do not pay for a pool of ready factors ...
FIRST = 64  # values that are looked at before all are
KEPT_POOLS = 8  # ... of which the latest are kept, 4 MiB each


class Noise(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Perturbs each computing operation as the working dtype would.

    Attributes:
        unit: unit roundoff of the working dtype.
        seen: how many floating-point operations were perturbed. None: the reference computes where
            torch does not see it (NumPy, a kernel of its own), and only its inputs and its outputs
            are noisy.
        leaves_ties_open: whether an operation was seen that may give equal values in any order.
        names_first_of_ties: whether one was that picks among equal values, by whatever order.
        jumps: whether one was whose result jumps where its operands pass some value.
        from_bits: whether one was that takes integers' bits for floating-point numbers.
    """

    def __init__(self, precision: str, seed: int, ties: Ties = "as they come") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.unit = UNITS[precision]
        self.seen = 0
        self.leaves_ties_open = self.names_first_of_ties = self.jumps = self.from_bits = False
        self._ties = ties
        self._accumulator = min(ACCUMULATOR, self.unit)
        self._operands = TF32_OPERANDS if precision == "tf32" else 0.0
        self._places = random.Random(seed)
        self._phase = self._places.getrandbits(62)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # else torch would import its compiler at the first operation: a second or more of every
        # process
        return False

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """One operation: its operands jittered where it sums many terms, its results where it
        computes.
        """
        kwargs = kwargs or {}
        name = name_of(func)
        if name in OPEN_TIES and not kwargs.get("stable"):
            self.leaves_ties_open = True
        self.names_first_of_ties = self.names_first_of_ties or name in FIRST_OF_TIES
        self.jumps = self.jumps or jumps(name, args, kwargs)
        if func._overloadname == "dtype" and name == "view" and args[1].is_floating_point:
            self.from_bits = self.from_bits or not args[0].is_floating_point()
        if name in DECOMPOSED:
            with self:
                return DECOMPOSED[name](*args)
        if is_move(name, func, args):
            return func(*args, **kwargs)
        is_whole = name in OF_WHOLE_NUMBERS and _are_whole((*args, *kwargs.values()))
        terms = growth(name, args)
        summed = self._accumulator * math.sqrt(terms)
        if name in CONTRACTIONS and not is_whole:
            written = 1 if func._schema.is_mutable else 0
            jitter = math.sqrt(3) * max(summed, self._operands)  # root mean square
            args = (
                *args[:written],
                *(self._jittered_operand(arg, jitter) for arg in args[written:]),
            )
        if name in PLACES:
            at = PLACES[name]
            args = (*args[:at], self._moved_places(args[at]), *args[at + 1 :])
        if name == "pow" and len(args) > 1 and isinstance(args[1], float) and args[1] % 1:
            args = (args[0], args[1] * (1 + self.unit * self._places.uniform(-1, 1)), *args[2:])
        size = self.unit * (2 if name in COMPOSED else 1)
        if name in APPROXIMATED:
            size += APPROXIMATION * self._accumulator
        if terms > 1:
            size = math.hypot(size, summed)
        result = func(*args, **kwargs)
        if name.startswith(RESAMPLED):
            self._move(result, args[0].shape if not name.endswith("_backward") else result.shape)
        for tensor in results_of(func, args, kwargs, result):
            self.seen += 1
            if is_whole and bool((tensor.abs() <= 1 / self.unit).all()):
                continue  # a count is the same in whatever order it is counted
            self._perturb(tensor, size)
        return result

    def jittered(self, values: torch.Tensor) -> torch.Tensor:
        """A copy in float64 (complex128) whose values err by one unit roundoff; other kinds as they
        are.
        """
        if values.is_complex():
            wide = values.detach().to(torch.complex128, copy=True)
        elif values.dtype.is_floating_point:
            wide = values.detach().to(torch.float64, copy=True)
        else:
            return values
        if self._ties == "as they come":
            return self._perturb(wide, self.unit)
        parts = torch.view_as_real(wide) if wide.is_complex() else wide
        if self._ties == "kept":
            parts.mul_(_by_bits(parts, self._phase).mul_(self.unit).add_(1))
        else:
            factors = self._factors(self.unit, parts.numel(), parts.device).view(parts.shape)
            sizes = parts[parts != 0].abs()
            if sizes.numel():  # no factor tells zeros apart: they err by less than any other value
                parts.masked_fill_(parts == 0, float(sizes.min()) * self.unit)
                factors = torch.where(parts.abs() < sizes.min(), (factors - 1) / self.unit, factors)
            parts.mul_(factors)
        return wide

    @contextmanager
    def _drawn(self) -> Iterator[None]:
        """The mode, with fused attention taken apart into operations that it can see."""
        # of a CPU's attention, too; torch.nn.attention would take a second to import
        backends = torch.backends.cuda
        switches = (
            (backends.flash_sdp_enabled, backends.enable_flash_sdp),
            (backends.mem_efficient_sdp_enabled, backends.enable_mem_efficient_sdp),
            (backends.cudnn_sdp_enabled, backends.enable_cudnn_sdp),
        )
        before = [enabled() for enabled, _ in switches]  # type: ignore[no-untyped-call]
        for _, enable in switches:
            enable(False)
        try:
            with self:
                yield
        finally:
            for (_, enable), was in zip(switches, before, strict=True):
                enable(was)

    def draw(
        self, compute: Callable[[Problem], Result], problem: Problem, *, in_float64: bool = True
    ) -> Result:
        """What `compute` gives for the problem when its inputs and each of its operations err.

        `in_float64=False` leaves the inputs as they are, for a reference that looks at their dtype
        or their bits.
        """
        if in_float64:
            problem = replace(
                problem,
                inputs=tuple(self.jittered(tensor) for tensor in problem.inputs),
                state={name: self.jittered(tensor) for name, tensor in problem.state.items()},
                upstream=None if problem.upstream is None else self.jittered(problem.upstream),
            )
        with self._drawn():
            return compute(problem)

    def at_random(self, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Float64 values on the grid of `dtype`, each rounded up or down at random, in the mean to
        itself.
        """
        if dtype not in GRIDS:
            return values
        spacing = ulp(values, dtype)
        shift = self._cut(_pool(values.device), values.numel()).view(values.shape).add(1).mul_(0.5)
        return torch.where(
            values.isfinite(), (values / spacing).add_(shift).floor_().mul_(spacing), values
        )

    def _jittered_operand(self, arg: Any, size: float) -> Any:
        if isinstance(arg, torch.Tensor) and (arg.dtype.is_floating_point or arg.is_complex()):
            return self._perturb(arg.clone(), size)
        return arg

    def _moved_places(self, places: torch.Tensor) -> torch.Tensor:
        """Places between -1 and 1, which are rounded once 1 is added, and once more as an index."""
        factors = self._factors(2 * self.unit, places.numel(), places.device).view(places.shape)
        return (places + 1) * factors - 1

    def _move(self, values: torch.Tensor, given: Sequence[int]) -> None:
        """Take interpolated values from places that err by two units of the accumulator, times
        their index: in all alike, as their distance is rounded, and each by itself. Its weights are
        rounded, too.

        `given`: the shape that they are interpolated from.
        """
        for dim in range(2, values.ndim):
            size = values.shape[dim]
            if size < 2:
                continue
            steps = values.diff(dim=dim)
            slopes = torch.cat([steps, steps.narrow(dim, size - 2, 1)], dim)
            index = torch.arange(size, dtype=torch.float64, device=values.device)
            index = index * max(1.0, given[dim] / size) * 2 * self._accumulator
            away = self._cut(_pool(values.device), size) + self._places.uniform(-1, 1)
            shape = [-1 if number == dim else 1 for number in range(values.ndim)]
            weights = self._factors(self.unit, size, values.device).view(shape)
            values.mul_(weights).add_(slopes * (index * away).view(shape))

    def _perturb(self, tensor: torch.Tensor, size: float) -> torch.Tensor:
        """Multiply by 1 + size * xi in place; infinities and NaN stay what they are."""
        if tensor.is_complex():
            self._perturb(torch.view_as_real(tensor.resolve_conj()), size)
            return tensor
        if self.unit >= HALF and tensor.numel() <= SMALL:
            return tensor.mul_(self._sawtooth(tensor).mul_(size).add_(1))
        flat = _in_memory_order(tensor)
        if flat is None:
            tensor.mul_(self._factors(size, tensor.numel(), tensor.device).view(tensor.shape))
            return tensor
        for start in range(0, len(flat), POOL):
            piece = flat[start : start + POOL]
            piece.mul_(self._factors(size, len(piece), tensor.device))
        return tensor

    def _sawtooth(self, values: torch.Tensor) -> torch.Tensor:
        """In [-1, 1], the same for values that round alike, as the variances of many rows do, which
        are all near 1.

        Rounding to a grid whose place is drawn for each operation: values further apart than its
        step err independently of one another. Where they all err alike, a whole output is off by a
        common factor.
        """
        steps = values.abs().log_().mul_(0.5 / self.unit).add_(self._places.random())
        return steps.frac_().abs_().mul_(2).sub_(1).nan_to_num_(0.0, 0.0, 0.0)

    def _factors(self, size: float, count: int, device: torch.device) -> torch.Tensor:
        """`count` values of 1 + size * xi, from a random place of the pool."""
        if count <= SMALL and (device, size) not in _FACTORS:
            return self._cut(_pool(device), count).mul(size).add_(1)
        return self._cut(_factors_of(device, size), count)

    def _cut(self, pool: torch.Tensor, count: int) -> torch.Tensor:
        """`count` values from a random place of the pool, going round as often as needed."""
        start = self._places.randrange(POOL)
        if count <= POOL:
            return pool[start : start + count]
        return pool[start : start + POOL].repeat(-(-count // POOL))[:count]


def _by_bits(values: torch.Tensor, phase: int) -> torch.Tensor:
    """In [-1, 1), the same for equal float64 values, in whichever tensor they are."""
    bits = values.contiguous().view(torch.int64)
    mixed = (bits ^ (bits >> 29) ^ phase) * MIXER
    return (mixed >> 11).double().mul_(2.0**-52)


_FACTORS: dict[tuple[torch.device, float], torch.Tensor] = {}


@functools.cache
def _pool(device: torch.device) -> torch.Tensor:
    """Uniform in [-1, 1], the same in every process; twice over, so that a stretch may start
    anywhere.
    """
    values = torch.rand(POOL, generator=torch.Generator().manual_seed(POOL), dtype=torch.float64)
    return values.mul_(2).sub_(1).repeat(2).to(device)


def _factors_of(device: torch.device, size: float) -> torch.Tensor:
    """The pool as factors 1 + size * xi; those of the latest sizes are kept."""
    found = _FACTORS.pop((device, size), None)
    if found is None:
        found = _pool(device).mul(size).add_(1)
        while len(_FACTORS) >= KEPT_POOLS:
            _FACTORS.pop(next(iter(_FACTORS)))
    _FACTORS[device, size] = found
    return found


def forget_pools() -> None:
    """Free the random numbers kept on every device: they are the harness's, not the
    implementation's.
    """
    _FACTORS.clear()
    _pool.cache_clear()


def _in_memory_order(tensor: torch.Tensor) -> torch.Tensor | None:
    """All values of a dense tensor as one dimension, whatever its strides; None where it has gaps
    or repeats.
    """
    if not tensor.is_contiguous():
        order = sorted(range(tensor.ndim), key=lambda dim: tensor.stride()[dim], reverse=True)
        tensor = tensor.permute(order)
    return tensor.view(-1) if tensor.is_contiguous() else None


def _are_whole(operands: Iterable[Any]) -> bool:
    """Whether all floating-point operands, of which there is one, are whole numbers."""
    found = False
    for operand in operands:
        if isinstance(operand, float) and operand % 1:
            return False
        if isinstance(operand, torch.Tensor) and operand.is_floating_point():
            found = True
            values = operand.reshape(-1)
            if bool(values[:FIRST].frac().any()) or bool(values.frac().any()):
                return False
        elif isinstance(operand, torch.Tensor) and operand.is_complex():
            return False
    return found


EXPONENT_BITS = 0x7FF0_0000_0000_0000  # of float64
# Bits of the mantissa, smallest exponent of a normal number (value >= 2**exponent), by dtype.
GRIDS: dict[torch.dtype, tuple[int, int]] = {
    torch.float32: (23, -126),
    torch.float16: (10, -14),
    torch.bfloat16: (7, -126),
    torch.float8_e4m3fn: (3, -6),
    torch.float8_e4m3fnuz: (3, -7),
    torch.float8_e5m2: (2, -14),
    torch.float8_e5m2fnuz: (2, -15),
}


def ulp(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance of neighbouring numbers of `dtype` at each float64 value; float64's own for
    other dtypes.
    """
    bits, least = GRIDS.get(dtype, (52, -1022))
    powers = (values.contiguous().view(torch.int64) & EXPONENT_BITS).view(torch.float64)
    return powers.clamp_(min=2.0**least).mul_(2.0**-bits)
