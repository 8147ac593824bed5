"""Holds a device's measured peak rates (roofline), and checks whether a call can be faster."""

from __future__ import annotations

from orchestrator.util.frozen_model import FrozenModel
from orchestrator.workload import Work

# Work in a precision may be computed in these instead.
WIDER = {"float16": ("float32",), "bfloat16": ("float32",), "tf32": ("float32",)}
# A CPU's rates depend on its neighbours, and on how well the size of a matmul suits it.
MARGIN = {"cuda": 1.1, "cpu": 1.5}


class Ceilings(FrozenModel):
    """Peak rates of one device, as measured.

    Attributes:
        device: "cpu" or "cuda".
        matmul_flops_per_s: by precision (float64, float32, tf32, float16, bfloat16).
        copy_bytes_per_s: bytes read plus bytes written.
        cache_bytes: size of the last cache; data within it may move faster than copies do.
    """

    device: str
    matmul_flops_per_s: dict[str, float]
    copy_bytes_per_s: float
    cache_bytes: int

    def share(self, work: Work, seconds: float, precision: str, gpus: int = 1) -> float | None:
        """The least time for this work at the peak rates, over the time that it took.

        None for a precision that was not measured.
        """
        matmul = self._matmul(precision)
        if matmul is None:
            return None
        return max(work.flops / matmul, self._copy_s(work)) / gpus / seconds

    def impossible(self, work: Work, seconds: float, precision: str, gpus: int = 1) -> str | None:
        """Why no call can do this work in `seconds` on this device; None: one can.

        The rates may be too low, if the device was disturbed when they were measured: measure and
        merge them again before you call a result implausible.
        """
        margin, matmul = MARGIN[self.device], self._matmul(precision)
        flops = work.flops if work.needed_flops is None else work.needed_flops
        if matmul is not None and flops / seconds > margin * gpus * matmul:
            return _too_fast(flops / seconds / gpus, matmul, f"FLOP/s in {precision}", "matmul")
        if self._copy_s(work) > margin * gpus * seconds:
            return _too_fast(work.bytes / seconds / gpus, self.copy_bytes_per_s, "B/s", "copy")
        return None

    def merged(self, other: Ceilings) -> Ceilings:
        """The higher of each rate: what was reached in either measurement can be reached."""
        rates = dict(self.matmul_flops_per_s)
        for name, rate in other.matmul_flops_per_s.items():
            rates[name] = max(rate, rates.get(name, 0.0))
        copies = max(self.copy_bytes_per_s, other.copy_bytes_per_s)
        in_order = dict(sorted(rates.items()))
        return self.model_copy(update={"matmul_flops_per_s": in_order, "copy_bytes_per_s": copies})

    def _matmul(self, precision: str) -> float | None:
        """The rate in a precision, or in a wider one if that is higher; None: not measured."""
        rate = self.matmul_flops_per_s.get(precision)
        if rate is None:
            return None
        for wider in WIDER.get(precision, ()):
            rate = max(rate, self.matmul_flops_per_s.get(wider, rate))
        return rate

    def _copy_s(self, work: Work) -> float:
        """Seconds for the work's bytes at the copy rate; 0 for data that the caches may hold."""
        if work.bytes <= 2 * self.cache_bytes:
            return 0.0
        return work.bytes / self.copy_bytes_per_s


def _too_fast(rate: float, ceiling: float, unit: str, what: str) -> str:
    return (
        f"faster than this device can be: {rate:.3g} {unit}, but its own {what} reaches "
        f"{ceiling:.3g} {unit}; the work was not done, or not within the time measured"
    )
