"""report.html: one self-contained file that asks nothing of any network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.formatting import duration, one_line, printable, shown
from orchestrator.outcome import Outcome
from orchestrator.report.answer_table import AnswerTable
from orchestrator.report.layout import NOT_RUN, Layout
from orchestrator.report.page.data import embedded, page_data
from orchestrator.report.page.phases import phase_shares
from orchestrator.report.page.template import rendered
from orchestrator.report.ranking import Ranking, Standing, speed_heading
from orchestrator.results import reused

SCRIPTS = ("vendor/d3.min.js", "vendor/plot.min.js", "model.js", "charts.js", "table.js", "page.js")
COLOURS = 8
OVER_PEAK = 1.005  # a share of the peak that rounds to more than 100 %


def html_page(layout: Layout) -> str:
    """The page as HTML. Verdict, environment and sweep file need no script; charts and rows do."""
    verdict = Ranking.of(layout)
    phases = phase_shares(layout.results.made)
    named = [f"{phase.name} {phase.percent}" for phase in phases]
    shares = [row.metrics.get("ceiling_share") or 0.0 for row in layout.rows]
    return rendered(
        "sweep.html.j2",
        SCRIPTS,
        layout=layout,
        data=embedded(page_data(layout, verdict)),
        tiles=_tiles(layout),
        sentences=_sentences(layout, verdict),
        standings=[_standing(position, found) for position, found in enumerate(verdict.standings)],
        answers=AnswerTable.of(layout),
        several_kinds=len(set(verdict.kinds.values())) > 1,
        speed_heading=speed_heading(verdict),
        environments=[_facts(found) for found in layout.results.environments.values()],
        sweep_file=_sweep_file(layout),
        heading=[*layout.lines, *_fixed(layout)],
        phases=phases,
        phase_colours=[*(f"i{number}" for number in range(COLOURS)), "strong-line"],
        phases_text=f"Where the time went: {', '.join(named)}",
        phases_total=duration(sum(phase.seconds for phase in phases)),
        over_peak=max(shares, default=0.0) > OVER_PEAK,
    )


def _tiles(layout: Layout) -> list[tuple[str, str, str]]:
    """(value, label, tone) of each outcome and flag, then the time."""
    tones = {str(Outcome.OK): "good", "not run": "quiet"}
    tiles = []
    for name, count in layout.outcomes.items():
        tiles.append((str(count), name, tones.get(name, "bad")))
    for name, count in layout.flags.items():
        tiles.append((str(count), printable(name), "warn"))
    if layout.busy_s is not None:
        tiles.append((duration(layout.busy_s), "measuring", "quiet"))
    return tiles


def _sentences(layout: Layout, verdict: Ranking) -> list[tuple[str, str]]:
    """(what it is about, the rest) of each sentence of the verdict, and of those on where rows come
    from that this sweep did not measure.
    """
    found = []
    for sentence in verdict.sentences():
        head, colon, rest = sentence.partition(":")
        if colon:
            found.append((head + colon, rest.strip()))
        else:
            found.append(("", sentence))
    for line in reused.lines(layout.results):
        rest = line.removeprefix("Reused: ")
        found.append(("Reused:", rest))
    return found


def _fixed(layout: Layout) -> list[str]:
    """`Batch: 2, Heads: 8`: one line of the columns with a single value; none without any."""
    single = []
    for name, heading in layout.columns.items():
        values = {shown(row.value(name)) for row in layout.rows}
        if len(values) == 1:
            single.append(f"{heading}: {values.pop()}")
    return [", ".join(single)] if single else []


def _standing(position: int, found: Standing) -> dict[str, Any]:
    bad = []
    for outcome, count in found.outcomes.items():
        if outcome not in (Outcome.OK, NOT_RUN):
            bad.append(f"{count} {outcome}")
    return {
        "found": found,
        "name": printable(found.implementation),
        "baseline": printable(found.baseline),
        "colour": position % COLOURS,
        "position": position,
        "bad": ", ".join(bad),
        "not_run": found.outcomes.get(NOT_RUN, 0),
        "error": "N/A" if found.relative_error is None else f"{found.relative_error:.1e}",
    }


def _facts(environment: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, bool]]:
    """(name, value, whether it must match) of each fact that is known."""
    match, know = environment.get("match", {}), environment.get("know", {})
    facts = []
    for name, value in match.items():
        if value is not None:
            facts.append((printable(name), _fact(value), True))
    for name, value in know.items():
        if value is not None and name not in match:
            facts.append((printable(name), _fact(value), False))
    return facts


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return one_line(json.dumps(value, default=str), 400)
    return shown(value)


def _sweep_file(layout: Layout) -> str:
    """The file as it was written, or as it was understood where it is gone."""
    directory = layout.results.directory
    if directory is not None and (directory / "sweep.yaml").is_file():
        return (directory / "sweep.yaml").read_text(encoding="utf-8", errors="replace")
    return layout.results.meta.spec.model_dump_json(indent=2, exclude_defaults=True)
