"""Hardware counters of a GPU's kernels, by Nsight Compute where it is installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from contextlib import suppress

from orchestrator.record import KernelShare

RANGE = "profiled"  # the NVTX range around the call that counters are read of
TIME = "gpu__time_duration.sum"
COUNTERS = {  # name of ours -> Nsight Compute's
    "dram_gb_per_s": "dram__bytes.sum.per_second",
    "dram_share": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "tensor_share": "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active",
    "occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
}
SCALE = {"dram_gb_per_s": 1e-9, "dram_share": 0.01, "tensor_share": 0.01, "occupancy": 0.01}


def command(ncu: str, file: str, nvtx_range: str, program: Sequence[str]) -> list[str]:
    """The command line that writes the counters of a range's kernels into `file` as CSV."""
    line = [ncu, "--nvtx", "--nvtx-include", f"{nvtx_range}/"]
    line += ["--metrics", ",".join([TIME, *COUNTERS.values()])]
    line += ["--csv", "--page", "raw", "--print-units", "base", "--log-file", file]
    return [*line, *program]


def read(text: str) -> dict[str, dict[str, float]]:
    """Kernel -> counters by our names, weighted by the time of its launches.

    `text` is what Nsight Compute writes with `--csv --page raw --print-units base`: lines of its
    own that start with ==, a line of headings, one of units, then a line a launch.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("==")]
    found: dict[str, list[dict[str, float]]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines))):
        seconds = _number(row.get(TIME))
        if seconds is None:
            continue  # the line of units
        values = {"seconds": seconds}
        for name, theirs in COUNTERS.items():
            value = _number(row.get(theirs))
            if value is not None:
                values[name] = SCALE[name] * value
        found.setdefault(row.get("Kernel Name") or "", []).append(values)
    return {kernel: _averaged(launches) for kernel, launches in found.items() if kernel}


def with_counters(
    kernels: Iterable[KernelShare], counters: dict[str, dict[str, float]]
) -> tuple[KernelShare, ...]:
    """The kernels with their counters.

    The two profilers print a kernel's parameters otherwise: names are compared up to the first
    bracket, and the longest that agrees counts.
    """
    by_stem = {_stem(name): values for name, values in counters.items()}
    found = []
    for one in kernels:
        values = by_stem.get(_stem(one.name), {})
        found.append(one.model_copy(update={"counters": values}))
    return tuple(found)


def _stem(name: str) -> str:
    """`void ns::gemm<float>(int)` -> `gemm`."""
    plain = name.removeprefix("void ").split("<")[0].split("(")[0]
    return plain.split("::")[-1].strip()


def _averaged(launches: Sequence[dict[str, float]]) -> dict[str, float]:
    averages = {}
    for name in COUNTERS:
        known = [one for one in launches if name in one]
        seconds = sum(one["seconds"] for one in known)
        if seconds > 0:
            averages[name] = sum(one["seconds"] * one[name] for one in known) / seconds
    return averages


def _number(text: str | None) -> float | None:
    with suppress(ValueError, AttributeError):
        return float((text or "").replace(",", ""))
    return None
