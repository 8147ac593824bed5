"""What a device was seen to do, and whether a call can be faster: its matmul rates and copy rate."""

from __future__ import annotations

from orchestrator.model import FrozenModel
from orchestrator.workload import Work

WIDER = {"float16": ("float32",), "bfloat16": ("float32",), "tf32": ("float32",)}  # may be computed in these instead
MARGIN = {"cuda": 1.1, "cpu": 1.5}  # a CPU's rates depend on its neighbours and on how well a matmul's size suits it


class Ceilings(FrozenModel):
    """What one device was seen to do.

    Attributes:
        device: "cpu" or "cuda".
        matmul_flops_per_s: by precision (float64, float32, tf32, float16, bfloat16).
        copy_bytes_per_s: bytes read plus bytes written.
        cache_bytes: the last cache's size; data within it may move faster than copies do.
    """

    device: str
    matmul_flops_per_s: dict[str, float]
    copy_bytes_per_s: float
    cache_bytes: int

    def share(self, work: Work, seconds: float, precision: str, gpus: int = 1) -> float | None:
        """The time that useful work takes at the ceilings over the time it took; None for a precision not measured."""
        matmul = self._matmul(precision)
        return None if matmul is None else max(work.flops / matmul, self._moving(work)) / gpus / seconds

    def impossible(self, work: Work, seconds: float, precision: str, gpus: int = 1) -> str | None:
        """Why no call that does this work can last only `seconds` on this device, or None if it can.

        Ceilings may have been measured while the device was disturbed: measure them again and merge before a verdict.
        """
        margin, matmul = MARGIN[self.device], self._matmul(precision)
        flops = work.flops if work.needed_flops is None else work.needed_flops
        if matmul is not None and flops / seconds > margin * gpus * matmul:
            return _too_fast(flops / seconds / gpus, matmul, f"FLOP/s in {precision}", "matmul")
        if self._moving(work) > margin * gpus * seconds:
            return _too_fast(work.bytes / seconds / gpus, self.copy_bytes_per_s, "B/s", "copy")
        return None

    def merged(self, other: Ceilings) -> Ceilings:
        """The higher of each rate: what was reached in either measurement can be reached."""
        names = {*self.matmul_flops_per_s, *other.matmul_flops_per_s}
        pairs = {
            name: (self.matmul_flops_per_s.get(name, 0.0), other.matmul_flops_per_s.get(name, 0.0)) for name in names
        }
        return self.model_copy(
            update={
                "matmul_flops_per_s": {name: max(pair) for name, pair in sorted(pairs.items())},
                "copy_bytes_per_s": max(self.copy_bytes_per_s, other.copy_bytes_per_s),
            }
        )

    def _matmul(self, precision: str) -> float | None:
        rates = [self.matmul_flops_per_s.get(name) for name in (precision, *WIDER.get(precision, ()))]
        return max((rate for rate in rates if rate is not None), default=None) if rates[0] is not None else None

    def _moving(self, work: Work) -> float:
        """Seconds at the copy rate; 0 for data that the caches may hold."""
        return work.bytes / self.copy_bytes_per_s if work.bytes > 2 * self.cache_bytes else 0.0


def _too_fast(rate: float, ceiling: float, unit: str, what: str) -> str:
    return (
        f"faster than this device can be: {rate:.3g} {unit}, but its own {what} reaches {ceiling:.3g} {unit}; "
        "the work was not done, or not within the time measured"
    )
