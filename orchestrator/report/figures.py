"""Defines the columns of `--columns` and `--sort`: heading, text and order of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.errors import RequestError, SweepNotFoundError, nearest, suggestion
from orchestrator.formatting import NONE, grouped, number, with_interval
from orchestrator.metrics import METRICS
from orchestrator.report.layout import Layout
from orchestrator.report.ranking import Ranking, ratio
from orchestrator.results.rows import Row, latency

DEFAULT = "time,ci,speedup,memory"
NAMES = (
    "time", "ci", "noise", "speedup", "memory", "tflops", "gbps", "peak", "tokens", "error",
    "repetitions",
)  # fmt: skip
OTHERS = tuple(name for name in METRICS if name not in NAMES)  # every other metric, by its own name
ORDERS = ("table", "shape")  # beside the names of the columns


@dataclass(frozen=True)
class Figure:
    """One column of figures.

    Attributes:
        name: what `--columns` and `--sort` call it.
        heading: in the table.
        text: how a row's value is written.
        value: what rows are sorted by; None: the row has none.
        largest_first: whether the largest value is the best.
    """

    name: str
    heading: str
    text: Callable[[Row], str]
    value: Callable[[Row], float | None]
    largest_first: bool = False


def figures(layout: Layout, ranking: Ranking) -> dict[str, Figure]:
    """Name -> column, of one sweep."""
    speeds = speedups(layout, ranking)
    doubtful = disturbed_pairs(layout, ranking)

    def speed(row: Row) -> float | None:
        return speeds.get(row.trial_id)

    def speed_text(row: Row) -> str:
        value = speed(row)
        if value is None:
            return NONE
        mark = "~" if row.trial_id in doubtful else ""
        return f"{mark}{ratio(value)}"

    known = [
        Figure("time", "Time (ms)", lambda row: _latency(row)[0], _metric("latency_ms")),
        Figure("ci", "95 % interval", lambda row: _latency(row)[1], _half_width),
        Figure("noise", "Noise (%)", _text("noise_pct", 1), _metric("noise_pct")),
        Figure("speedup", "Speed", speed_text, speed, largest_first=True),
        Figure("memory", "MiB", _text("peak_memory_mib"), _metric("peak_memory_mib")),
        Figure(
            "tflops",
            "TFLOP/s",
            _text("tflops_per_s", 3),
            _metric("tflops_per_s"),
            largest_first=True,
        ),
        Figure("gbps", "GB/s", _text("gb_per_s", 1), _metric("gb_per_s"), largest_first=True),
        Figure("peak", "% of peak", _share, _metric("ceiling_share"), largest_first=True),
        Figure(
            "tokens",
            "Tokens/s",
            _text("throughput_tokens_per_s", 0),
            _metric("throughput_tokens_per_s"),
            largest_first=True,
        ),
        Figure("error", "Error", _error, _metric("relative_error")),
        Figure(
            "repetitions",
            "Reps",
            _repetitions,
            lambda row: sum(map(len, row.rounds)) or None,
            largest_first=True,
        ),
    ]
    for name in OTHERS:
        heading = METRICS[name].heading
        known.append(Figure(name, heading, _text(name), _metric(name)))
    for name in own_metrics(layout.rows):
        # a workload states no direction: only a rate is known to be better the larger it is
        is_rate = name.endswith("_per_s")
        known.append(Figure(name, name, _text(name), _metric(name), largest_first=is_rate))
    return {figure.name: figure for figure in known}


def own_metrics(rows: Iterable[Row]) -> list[str]:
    """The figures of rows that are the workload's own, in the order in which they are met."""
    names: dict[str, None] = {}
    for row in rows:
        names |= dict.fromkeys(row.metrics)
    return [name for name in names if name not in METRICS]


def check_names(
    columns: str | None, order: str | None, own: Callable[[], Iterable[str]] = tuple
) -> None:
    """Refuse names that no table has, before a sweep runs for an hour.

    Args:
        columns: names, separated by commas; None: those that every table has.
        order: a name; None: that of the table.
        own: the metrics that the workload states, asked for where another name is met.

    Raises:
        RequestError: there is no such column, or no such order; or what `own` finds wrong with the
            sweep file, since the name may be right.
    """
    known = [*NAMES, *OTHERS]
    asked = [(order or "table").strip()]
    if columns is not None:
        asked += [name.strip() for name in columns.split(",")]
    if not set(asked) <= {*known, *ORDERS, ""}:
        with suppress(SweepNotFoundError):  # it is refused later
            known += own()
    if columns is not None:
        _names(columns, known)
    if order is not None and order not in (*ORDERS, *known):
        names = [*ORDERS, *NAMES]
        near = nearest(order, names)
        meant = f" (did you mean {near!r}?)" if near else ""
        raise RequestError(f"--sort: no order {order!r}{meant}; use {', '.join(names)}")


def chosen(columns: str, known: Mapping[str, Figure]) -> list[Figure]:
    """The columns that a list of names, separated by commas, asks for.

    Raises:
        RequestError: one of them is not known, or none is named.
    """
    return [known[name] for name in _names(columns, known)]


def ordered(layout: Layout, order: str, known: Mapping[str, Figure]) -> list[Row]:
    """The rows in the order of `--sort`: `table`, `shape`, or a column's name.

    By a column the best row comes first, rows without a value last.

    Raises:
        RequestError: there is no such order.
    """
    check_names(None, order, lambda: known)
    if order == "table":
        return list(layout.rows)
    if order == "shape":
        places: dict[tuple[str, ...], int] = {}  # of a shape: where it is met first
        for row in layout.rows:
            places.setdefault(layout.point(row), len(places))
        return sorted(layout.rows, key=lambda row: places[layout.point(row)])
    figure = known[order]
    sign = -1 if figure.largest_first else 1

    def key(row: Row) -> tuple[bool, float]:
        value = figure.value(row)
        if value is None:
            return True, 0.0  # after every row that has a value
        return False, sign * value

    return sorted(layout.rows, key=key)


def _names(columns: str, known: Collection[str]) -> list[str]:
    names = [name.strip() for name in columns.split(",") if name.strip()]
    for name in names:
        if name not in known:
            near = suggestion(name, known) if nearest(name, known) else ""
            raise RequestError(
                f"--columns: no column {name!r}{near}; use {', '.join(NAMES)}, "
                "or a metric's name in results.csv"
            )
    if not names:
        raise RequestError(f"--columns: names no column; use {', '.join(NAMES)}")
    return list(dict.fromkeys(names))


def speedups(layout: Layout, ranking: Ranking) -> dict[str, float]:
    """trial_id -> the baseline's median latency over the row's own, of rows that have both."""
    baseline = {standing.implementation: standing.baseline for standing in ranking.standings}
    times = {}
    for row in layout.rows:
        times[row.implementation, layout.point(row)] = row.metrics.get("latency_ms")
    found = {}
    for row in layout.rows:
        own = row.metrics.get("latency_ms")
        base = times.get((baseline[row.implementation], layout.point(row)))
        if own and base:
            found[row.trial_id] = base / own
    return found


def disturbed_pairs(layout: Layout, ranking: Ranking) -> set[str]:
    """trial_id of rows that were contended or throttled, or whose baseline was."""
    baseline = {standing.implementation: standing.baseline for standing in ranking.standings}
    disturbed = set()
    for row in layout.rows:
        if row.is_disturbed:
            disturbed.add((row.implementation, layout.point(row)))
    found = set()
    for row in layout.rows:
        point = layout.point(row)
        own, base = (row.implementation, point), (baseline[row.implementation], point)
        if own in disturbed or base in disturbed:
            found.add(row.trial_id)
    return found


def _metric(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.metrics.get(name)


def _text(name: str, decimals: int = 2) -> Callable[[Row], str]:
    return lambda row: grouped(row.metrics.get(name), decimals)


def _latency(row: Row) -> tuple[str, str]:
    return with_interval(*latency(row.metrics))


def _half_width(row: Row) -> float | None:
    """Of the interval, as a fraction of the median."""
    median, low, high = latency(row.metrics)
    if not median or low is None or high is None:
        return None
    return (high - low) / 2 / median


def _share(row: Row) -> str:
    share = row.metrics.get("ceiling_share")
    return NONE if share is None else number(100 * share, 1)


def _error(row: Row) -> str:
    error = row.metrics.get("relative_error")
    return NONE if error is None else f"{error:.1e}"


def _repetitions(row: Row) -> str:
    return str(sum(map(len, row.rounds))) if row.rounds else NONE
