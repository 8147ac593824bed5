"""The roofline: useful work against arithmetic intensity, below the device's measured peaks.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4),
2009. Work and bytes are those that the problem needs, not those that a kernel makes: a faster
implementation moves up, not sideways.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.machine.observation import Observation
from orchestrator.results.rows import Row


@dataclass(frozen=True)
class Peaks:
    """The highest rates measured on any of the sweep's devices.

    Attributes:
        matmul: precision -> TFLOP/s.
        copy: GB/s, bytes read plus bytes written.
    """

    matmul: dict[str, float]
    copy: float

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> Peaks | None:
        """The peaks among what was seen of the machine; None: they were not measured."""
        matmul: dict[str, float] = {}
        copy = 0.0
        for seen in observations:
            if seen.kind != "ceilings":
                continue
            copy = max(copy, seen.values["copy_bytes_per_s"] / 1e9)
            for precision, rate in seen.values["matmul_flops_per_s"].items():
                matmul[precision] = max(matmul.get(precision, 0.0), rate / 1e12)
        if not matmul or not copy:
            return None
        return cls(matmul, copy)

    def roof(self, precision: str, intensity: float) -> float:
        """TFLOP/s that a call of this intensity (FLOP/byte) can reach in this precision."""
        return min(self.matmul[precision], intensity * self.copy / 1000)

    def ridge(self, precision: str) -> float:
        """The intensity in FLOP/byte from which on the matmul rate is the bound."""
        return 1000 * self.matmul[precision] / self.copy


def intensity(row: Row) -> float | None:
    """Useful FLOP per byte that a call must move at least; None where either is not known."""
    work, traffic = row.metrics.get("tflops_per_s"), row.metrics.get("gb_per_s")
    if not work or not traffic:
        return None
    return 1000 * work / traffic  # TFLOP/s over GB/s
