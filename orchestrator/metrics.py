"""Each metric once: name, label, unit, how rounds pool, whether it can be searched and drawn.

The record's names, the CSV's order, the page, the plots, MLflow's views, the search rules and the
guide's table follow from METRICS. A metric that the worker reports and that is missing here is
shown under its bare name; a test refuses that for ours.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Pooling(Enum):
    """How the figures of a trial's rounds become the row's."""

    INTERVAL = "interval"  # computed from every repetition of every round
    # follows from the pooled latency: the work of one call is the same in every round
    RATE = "rate"
    WORST = "worst"  # the largest of the rounds
    MEDIAN = "median"  # the median of the rounds


@dataclass(frozen=True)
class Metric:
    """One figure of a row.

    Attributes:
        name: in records, CSV, page and MLflow; the unit is in the name.
        label: for a heading.
        unit: as text beside the label; empty: a plain number.
        meaning: for the guide, one sentence.
        pooling: how rounds become a row.
        searchable: whether `search.metric` may name it.
        drawn: whether a curve over an axis says anything.
    """

    name: str
    label: str
    unit: str
    meaning: str
    pooling: Pooling = Pooling.MEDIAN
    searchable: bool = True
    drawn: bool = False

    @property
    def heading(self) -> str:
        """Label and unit, as an axis or a column has them."""
        if not self.unit:
            return self.label
        return f"{self.label} ({self.unit})"

    def pooled(self, values: Sequence[float | None]) -> float | None:
        """The row's figure from those of its rounds, by WORST or MEDIAN; None: none has one."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        if self.pooling is Pooling.WORST:
            return max(known)
        return statistics.median(known)


_ALL = (
    Metric("latency_ms", "Time", "ms", "median time of one call", Pooling.INTERVAL, drawn=True),
    Metric(
        "latency_ci_low_ms",
        "Time, low",
        "ms",
        "lower end of the 95 % interval of the median",
        Pooling.INTERVAL,
    ),
    Metric(
        "latency_ci_high_ms",
        "Time, high",
        "ms",
        "upper end of the 95 % interval of the median",
        Pooling.INTERVAL,
    ),
    Metric(
        "noise_pct",
        "Noise",
        "% of the median",
        "interquartile range over the median",
        Pooling.INTERVAL,
    ),
    Metric(
        "peak_memory_mib",
        "Peak memory",
        "MiB",
        "most memory held during a call, inputs included",
        Pooling.WORST,
        drawn=True,
    ),
    Metric(
        "throughput_tokens_per_s",
        "Throughput",
        "tokens/s",
        "tokens of one call over its time",
        Pooling.RATE,
        drawn=True,
    ),
    Metric(
        "tflops_per_s",
        "Useful work",
        "TFLOP/s",
        "useful floating-point operations over the time",
        Pooling.RATE,
        drawn=True,
    ),
    Metric(
        "gb_per_s",
        "Minimum traffic",
        "GB/s",
        "inputs read and outputs written once, over the time",
        Pooling.RATE,
        drawn=True,
    ),
    Metric(
        "ceiling_share",
        "Share of peak",
        "of the measured peak",
        "share of the device's own measured peak rate",
        Pooling.RATE,
        drawn=True,
    ),
    Metric(
        "joules_per_call",
        "Energy per call",
        "J/call",
        "energy of one call by the GPU's counter",
        drawn=True,
    ),
    Metric(
        "energy_mj_per_token",
        "Energy per token",
        "mJ/token",
        "energy of one call over its tokens",
        drawn=True,
    ),
    Metric(
        "cold_latency_ms",
        "Time, cold cache",
        "ms",
        "median time with an emptied L2 cache (GPU)",
        drawn=True,
    ),
    Metric(
        "host_latency_ms",
        "Time, host side",
        "ms",
        "median wall time of a call from Python (GPU)",
        drawn=True,
    ),
    Metric(
        "graph_latency_ms",
        "Time, CUDA graph",
        "ms",
        "median time of one replay of the call as a CUDA graph (GPU)",
        drawn=True,
    ),
    Metric(
        "first_call_ms",
        "First call",
        "ms",
        "the first call: plans and compilation included",
        drawn=True,
    ),
    Metric(
        "cold_first_call_ms",
        "Build and first call, cold",
        "ms",
        "from build to the end of the first call, with empty caches",
        drawn=True,
    ),
    Metric(
        "warm_first_call_ms",
        "Build and first call, warm",
        "ms",
        "the same in a fresh process with the caches that this left",
        drawn=True,
    ),
    Metric(
        "prepare_ms",
        "Preparation",
        "ms",
        "what the implementation prepares for the values of its inputs, which is not timed",
        drawn=True,
    ),
    Metric(
        "workspace_mib",
        "Workspace",
        "MiB",
        "the part of peak memory above what was held before the call",
        Pooling.WORST,
        drawn=True,
    ),
    Metric(
        "reserved_mib",
        "Reserved memory",
        "MiB",
        "most memory that torch's allocator reserved (GPU)",
        Pooling.WORST,
    ),
    Metric(
        "device_memory_mib",
        "Device memory",
        "MiB",
        "most memory of the process by the driver's figure (GPU)",
        Pooling.WORST,
    ),
    Metric(
        "fastest_rank_ms",
        "Time, fastest rank",
        "ms",
        "median time of the rank that takes least",
        drawn=True,
    ),
    Metric(
        "rank_skew_ms",
        "Skew of ranks",
        "ms",
        "slowest rank's time above the fastest's",
        Pooling.WORST,
        drawn=True,
    ),
    Metric(
        "sent_bytes_per_rank",
        "Sent per rank",
        "B",
        "bytes that one call sends from a rank",
        Pooling.WORST,
    ),
    Metric(
        "relative_error",
        "Error",
        "relative to the reference",
        "largest error against the float64 reference",
        Pooling.WORST,
    ),
    Metric(
        "limit_share",
        "Share of the limit",
        "of what may be wrong",
        "largest share of a limit of the verification rule",
        Pooling.WORST,
        searchable=False,
    ),
    Metric(
        "error_budget",
        "Error allowed",
        "relative to the reference",
        "the error that was allowed",
        searchable=False,
    ),
    Metric(
        "latency_min_ms",
        "Time, least",
        "ms",
        "shortest repetition of all rounds",
        Pooling.INTERVAL,
        searchable=False,
    ),
    Metric(
        "latency_p5_ms",
        "Time, 5th percentile",
        "ms",
        "5th percentile of the repetitions of all rounds",
        Pooling.INTERVAL,
        searchable=False,
    ),
    Metric(
        "latency_p50_ms",
        "Time, 50th percentile",
        "ms",
        "median of the repetitions of all rounds together",
        Pooling.INTERVAL,
        searchable=False,
    ),
    Metric(
        "latency_p95_ms",
        "Time, 95th percentile",
        "ms",
        "95th percentile of the repetitions of all rounds",
        Pooling.INTERVAL,
        searchable=False,
    ),
    Metric(
        "round_spread",
        "Spread between processes",
        "of the median",
        "spread of the rounds' medians",
        Pooling.INTERVAL,
        searchable=False,
    ),
    Metric(
        "iterations_per_repetition",
        "Calls in a repetition",
        "",
        "calls that one repetition times together",
        searchable=False,
    ),
    Metric(
        "repetitions",
        "Repetitions",
        "",
        "repetitions over all rounds",
        Pooling.INTERVAL,
        searchable=False,
    ),
)

METRICS = {metric.name: metric for metric in _ALL}
SEARCHABLE = tuple(metric.name for metric in _ALL if metric.searchable)
# The columns of results.csv that are no metric: a workload's own metrics have other names.
ROW_COLUMNS = (
    *("implementation", "outcome", "flags", "kernels", "notes", "rounds", "attempts"),
    *("error_kind", "error_message", "log", "device", "trial_id", "sweep_id"),
)
LEADING = ("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "noise_pct", "peak_memory_mib")


def known(name: str) -> Metric:
    """The metric of that name; one of a workload's own, or of a later version, under its bare name.

    Without an entry, memory pools by the worst round, rates by the pooled latency, the rest by the
    median.
    """
    found = METRICS.get(name)
    if found is not None:
        return found
    if name.endswith("_mib"):
        return Metric(name, name, "", "", Pooling.WORST, searchable=False)
    if name.endswith("_per_s"):
        return Metric(name, name, "", "", Pooling.RATE, searchable=False)
    return Metric(name, name, "", "", searchable=False)
