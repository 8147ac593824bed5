"""Draws the page's curves as PNG and SVG, for a paper or a notebook, by matplotlib."""

from __future__ import annotations

import io
import itertools
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.formatting import axis_text, printable, shown
from orchestrator.metrics import known
from orchestrator.report.layout import Layout
from orchestrator.report.plot_axis import logarithmic, plain
from orchestrator.report.roofline import Peaks, intensity
from orchestrator.report.same_work import baselines, kinds
from orchestrator.results.results import Results
from orchestrator.results.rows import Row, latency
from orchestrator.util.files import write_bytes_atomically
from orchestrator.util.quantities import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The same as on the page.
COLOURS = ("#1463d6", "#e16c10", "#00594a", "#ad7eb8", "#581378", "#a54391", "#5f630f", "#8184f1")
MARKERS = ("o", "s", "^", "D", "P", "*", "v", "X")
DASHES = ("-", "--", ":", "-.")
FIGURES = {  # file: metric
    "latency": "latency_ms",
    "throughput": "throughput_tokens_per_s",
    "memory": "peak_memory_mib",
    "speedup": "speedup",  # worked out here
    "tflops": "tflops_per_s",
    "ceiling": "ceiling_share",
}
TITLE_WIDTH = 44  # characters of a panel's title in one line
METADATA: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}  # same results, same bytes
MAX_PANELS = 24
LOG_FROM = 6  # values that span more than this are drawn on a logarithmic scale
STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "orchestrator",
}


def figures(results: Results) -> dict[str, Figure]:
    """Name -> figure, of each figure with values; one panel per combination of the other axes.

    Nothing global is touched: no backend is chosen, and no figure is registered with pyplot.
    """
    import matplotlib as mpl

    plot = _Plot.of(Layout.of(results))
    with mpl.rc_context(STYLE):
        drawn = {}
        for name, metric in FIGURES.items():
            if not plot.has(metric):
                continue
            label = "Speed-up" if metric == "speedup" else known(metric).heading
            drawn[name] = plot.draw(metric, label)
        peaks = Peaks.of(results.observations)
        if peaks is not None and any(intensity(row) for row in plot.layout.rows):
            drawn["roofline"] = plot.roofline(peaks)
        return drawn


def write_plots(results: Results, directory: Path | str) -> list[Path]:
    """Write each figure as PNG (200 dots per inch) and SVG into `directory`; the paths written.

    Raises:
        OSError: a file cannot be written.
    """
    import matplotlib as mpl

    written = []
    for name, figure in figures(results).items():
        for form in ("png", "svg"):
            stream = io.BytesIO()
            with mpl.rc_context(STYLE):
                figure.savefig(
                    stream, format=form, dpi=200, bbox_inches="tight", metadata=METADATA[form]
                )
            path = Path(directory) / f"{name}.{form}"
            write_bytes_atomically(path, stream.getvalue())
            written.append(path)
    return written


@dataclass(frozen=True)
class _Plot:
    """Rows in panels.

    Attributes:
        x: the axis that runs along each; None where no numeric one varies, and of a search.
        trials: of a search trial_id -> its number as proposed, within its panel and implementation;
            else empty.
    """

    layout: Layout
    x: str | None
    trials: Mapping[str, int]
    panels: Mapping[str, Sequence[Row]]
    names: Sequence[str]
    baselines: Mapping[str, str]
    by_point: Mapping[tuple[str, tuple[str, ...]], Row]

    @classmethod
    def of(cls, layout: Layout) -> _Plot:
        spec = layout.results.meta.spec
        searched = spec.searched if spec.search.active else ()
        x = None if searched else _along(layout)
        others = {}
        for name, heading in layout.columns.items():
            if name == x or name in searched:
                continue
            if len({shown(row.value(name)) for row in layout.rows}) > 1:
                others[name] = heading
        names: dict[str, None] = {}  # a set that keeps the order
        by_point: dict[tuple[str, tuple[str, ...]], Row] = {}
        panels: dict[str, list[Row]] = {}
        for row in layout.rows:
            names[row.implementation] = None
            by_point[row.implementation, layout.point(row)] = row
            values = []
            for name, heading in others.items():
                values.append(f"{heading} {axis_text(name, row.value(name))}")
            panels.setdefault(" · ".join(values), []).append(row)
        trials = _numbered(panels.values()) if searched else {}
        first = baselines(kinds(layout), spec.baseline)
        drawn = dict(list(panels.items())[:MAX_PANELS])
        return cls(layout, x, trials, drawn, list(names), first, by_point)

    def has(self, metric: str) -> bool:
        """Whether there is anything to draw."""
        if metric == "speedup" and (self.trials or len(self.names) < 2):
            return False
        return any(self.value(row, metric) is not None for row in self._drawn_rows())

    def _drawn_rows(self) -> Iterator[Row]:
        return itertools.chain.from_iterable(self.panels.values())

    def value(self, row: Row, metric: str) -> float | None:
        """The figure of a row."""
        if metric != "speedup":
            return row.metrics.get(metric)
        base = self.by_point.get((self.baselines[row.implementation], self.layout.point(row)))
        if base is None:
            return None
        ours, theirs = row.metrics.get("latency_ms"), base.metrics.get("latency_ms")
        return theirs / ours if ours and theirs else None

    def reach(self, row: Row, metric: str) -> tuple[float, float]:
        """How far the interval reaches below and above the value."""
        value = self.value(row, metric)
        median, low, high = latency(row.metrics)
        if not value or not median or not low or not high or metric == "peak_memory_mib":
            return 0.0, 0.0
        if metric == "latency_ms":
            return value - low, high - value
        # Every other figure is a constant over the latency: its low end is at the latency's high.
        return value - value * median / high, value * median / low - value

    def draw(self, metric: str, label: str) -> Figure:
        """The figure of one metric."""
        from matplotlib.figure import Figure

        across = min(3, len(self.panels))
        down = math.ceil(len(self.panels) / across)
        figure = Figure(figsize=(3.1 * across, 2.5 * down + 0.4), layout="constrained")
        places = list(figure.subplots(down, across, squeeze=False).flat)
        for place, (title, rows) in zip(places, self.panels.items(), strict=False):
            self._panel(place, title, rows, metric)
        for place in places[len(self.panels) :]:  # the last line of panels may not be full
            place.set_visible(False)
        figure.supylabel(label, fontsize=8)
        self._legend(figure, metric == "speedup")
        return figure

    def roofline(self, peaks: Peaks) -> Figure:
        """Useful work against arithmetic intensity of every row, below the peaks of the device."""
        from matplotlib.figure import Figure

        def work(row: Row) -> float | None:
            return row.metrics.get("tflops_per_s")

        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        place = figure.subplots()
        found = []
        reach = [peaks.ridge(name) for name in peaks.matmul]
        for row in self.layout.rows:
            at = intensity(row)
            if at:
                found.append(row)
                reach.append(at)
        left, right = min(reach) / 2, max(reach) * 2
        for precision, rate in peaks.matmul.items():
            ridge = peaks.ridge(precision)
            edge = [left, ridge, right]
            roof = [peaks.roof(precision, at) for at in edge]
            place.plot(edge, roof, color="0.5", linewidth=1)
            place.annotate(
                f"{precision} matmul {rate:.4g} TFLOP/s",
                (ridge, rate),  # left of it no point can be, and right of it few reach the roof
                xytext=(0, 2),
                textcoords="offset points",
                ha="left" if ridge**2 < left * right else "right",
            )
        for position, name in enumerate(self.names):
            own = [row for row in found if row.implementation == name]
            if own:
                self._points(place, position, own, intensity, work, printable(name))
        place.set(xscale="log", yscale="log")
        logarithmic(place.xaxis)
        logarithmic(place.yaxis)
        place.set_xlabel(
            f"Useful FLOP per byte of minimum traffic (slope: copy at {peaks.copy:.4g} GB/s)"
        )
        place.set_ylabel("Useful work (TFLOP/s)")
        self._legend(figure, False)
        return figure

    def _legend(self, figure: Figure, names_baseline: bool) -> None:
        """One entry per implementation, and what a hollow mark says where there is one."""
        from matplotlib.lines import Line2D

        found: dict[str, Any] = {}
        first = {printable(name) for name in self.baselines.values()}
        for place in figure.axes:
            for line, label in zip(*place.get_legend_handles_labels(), strict=True):
                if names_baseline and label in first:
                    label += " (baseline)"
                found.setdefault(label, line)  # once for all panels
        if any(row.flags for row in self.layout.rows if row.ok):
            found["hollow: flagged"] = Line2D(
                [],
                [],
                color="0.4",
                marker="o",
                markersize=4,
                markerfacecolor="white",
                linestyle="none",
            )
        figure.legend(
            list(found.values()),
            list(found),
            loc="outside upper center",
            ncols=min(4, len(found)),
            frameon=False,
        )

    def _panel(self, place: Axes, title: str, rows: Sequence[Row], metric: str) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        for position, name in enumerate(self.names):
            own = [row for row in rows if row.implementation == name]
            own = [row for row in own if self.value(row, metric) is not None]
            if own:
                self._line(place, position, own, metric)
        low, high = self._range(rows, metric)
        if self._spans(metric) > LOG_FROM:
            place.set_yscale("log")
            logarithmic(place.yaxis)
            place.set_ylim(low / 1.15, high * 1.15)
        else:
            place.set_ylim(0, high * 1.08)
            place.yaxis.set_major_formatter(FuncFormatter(plain))
        place.set_title(
            textwrap.fill(title, TITLE_WIDTH), fontsize=8, fontweight="bold", loc="left"
        )
        if self.x is not None:
            ticks = sorted({row.value(self.x) for row in rows})
            if ticks[0] > 0 and ticks[-1] / ticks[0] >= 4:
                place.set_xscale("log")
            place.set_xticks(ticks, [shown(value) for value in ticks])
            place.set_xticks([], minor=True)  # a logarithmic axis has some of its own
            place.set_xlabel(self.layout.columns[self.x])
        elif self.trials:
            place.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            place.set_xlabel("Trial")
        else:
            place.set_xticks([])

    def _range(self, rows: Sequence[Row], metric: str) -> tuple[float, float]:
        """Range of values, intervals up to twice beyond: a noisy row must not flatten others."""
        values, lows, highs = [], [], []
        for row in rows:
            if value := self.value(row, metric):
                below, above = self.reach(row, metric)
                values.append(value)
                lows.append(value - below)
                highs.append(value + above)
        if not values:
            return 0.5, 1.0
        return max(min(values) / 2, min(lows)), min(max(values) * 2, max(highs))

    def _spans(self, metric: str) -> float:
        """The largest value of all panels over the smallest: all panels share one kind of scale."""
        values = []
        for row in self._drawn_rows():
            value = self.value(row, metric)
            if value:
                values.append(value)
        return max(values) / min(values) if values else 1.0

    def _line(self, place: Axes, position: int, own: Sequence[Row], metric: str) -> None:
        def at(row: Row) -> Any:
            if self.x is not None:
                return row.value(self.x)
            return self.trials.get(row.trial_id, position)  # no axis: a place for each name

        ordered = sorted(own, key=at)
        values, below, above = [], [], []
        for row in ordered:
            down, up = self.reach(row, metric)
            values.append(self.value(row, metric) or 0.0)
            below.append(down)
            above.append(up)
        place.errorbar(
            list(map(at, ordered)),
            values,
            yerr=(below, above),
            label=printable(self.names[position]),
            color=COLOURS[position % len(COLOURS)],
            marker=MARKERS[position % len(MARKERS)],
            linestyle="none" if self.trials else DASHES[position // 2 % len(DASHES)],
            markersize=4,
            linewidth=1.3,
            capsize=2,
        )
        flagged = [row for row in ordered if row.flags]
        if flagged:
            self._points(place, position, flagged, at, lambda row: self.value(row, metric))

    def _points(
        self,
        place: Axes,
        position: int,
        own: Sequence[Row],
        x: Callable[[Row], Any],
        y: Callable[[Row], float | None],
        label: str | None = None,
    ) -> None:
        """Marks without a line, hollow if the row is flagged; they cover what was drawn there."""
        marks: Any = {
            "color": COLOURS[position % len(COLOURS)],
            "marker": MARKERS[position % len(MARKERS)],
            "markersize": 4,
            "linestyle": "none",
            "zorder": 5,
        }
        if label is not None:  # for the legend: solid, whatever the rows are
            place.plot([], [], label=label, **marks)
        for row in own:
            face = "white" if row.flags else marks["color"]
            place.plot([x(row)], [y(row) or 0.0], markerfacecolor=face, **marks)


def _along(layout: Layout) -> str | None:
    """The numeric axis with the most values; of several the one that reaches furthest."""
    ranked = {}
    for name in layout.columns:
        values = {row.value(name) for row in layout.rows}
        if len(values) > 1 and all(map(is_number, values)):
            reach = max(values) / max(1e-9, abs(min(values)))
            ranked[name] = (len(values), reach, max(values))
    return max(ranked, key=lambda name: ranked[name], default=None)


def _numbered(panels: Iterable[Sequence[Row]]) -> dict[str, int]:
    """trial_id -> 1, 2, 3, ... in the order of the rows, within each panel and implementation."""
    seen: Counter[tuple[int, str]] = Counter()
    found = {}
    for panel, rows in enumerate(panels):
        for row in rows:
            seen[panel, row.implementation] += 1
            found[row.trial_id] = seen[panel, row.implementation]
    return found
