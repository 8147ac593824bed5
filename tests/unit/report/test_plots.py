"""Figures are drawn from rows, one panel per combination of the other axes, and written whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from orchestrator.report.plots import TITLE_WIDTH, figures, write_plots
from orchestrator.results.results import Results
from tests.support import made
from tests.unit.report.test_answer_table import search

# its parser of font patterns
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")


def test_each_figure_has_a_panel_per_combination_and_a_line_per_implementation(
    all_ok: Results,
) -> None:
    """Two values of batch: two panels along seq_len, standard and improved in each."""
    found = figures(all_ok)
    assert list(found) == ["latency", "throughput", "memory", "speedup", "tflops"]
    panels = found["latency"].axes
    assert [panel.get_title(loc="left") for panel in panels] == ["Batch 1", "Batch 2"]
    assert [panel.get_xlabel() for panel in panels] == ["Seq Len", "Seq Len"]
    assert [len(panel.containers) for panel in panels] == [2, 2]
    assert panels[0].containers[0].lines[0].get_ydata().tolist() == [1.0, 2.0]


def test_a_row_without_a_time_is_a_gap(mixed: Results) -> None:
    """Of multihead_standard only one point was timed; nothing is drawn at zero for the others."""
    lines = [
        container for panel in figures(mixed)["latency"].axes for container in panel.containers
    ]
    points = {line.get_label(): 0 for line in lines}
    for line in lines:
        points[line.get_label()] += len(line.lines[0].get_xdata())
    assert points == {"standard": 4, "improved": 4, "multihead_standard": 1}


def test_one_shape_is_drawn_without_an_axis() -> None:
    """No numeric axis varies: one panel, a mark per implementation."""
    axes = {"batch": [1], "seq_len": [1024], "heads": [8]}
    planned = made.trials(["standard", "improved"], axes)
    panels = figures(made.results(planned, [made.ok(trial) for trial in planned], axes=axes))[
        "latency"
    ].axes
    assert len(panels) == 1
    assert len(panels[0].containers) == 2


def test_a_flagged_row_is_hollow_and_the_legend_says_so(mixed: Results, all_ok: Results) -> None:
    """In the PNG as on the page: a doubtful point does not look like any other."""
    figure = figures(mixed)["latency"]
    faces = [
        line.get_markerfacecolor()
        for panel in figure.axes
        for line in panel.lines
        if line.get_zorder() == 5
    ]
    assert faces == ["white"]
    assert "hollow: flagged" in legend(figure)
    assert "hollow: flagged" not in legend(figures(all_ok)["latency"])


def test_the_baseline_of_a_speed_up_is_named(all_ok: Results) -> None:
    """In the legend, where it fits whatever its name."""
    assert legend(figures(all_ok)["speedup"]) == ["standard (baseline)", "improved"]


@pytest.mark.slow
def test_the_roofline_has_every_row_below_the_peaks(all_ok: Results) -> None:
    """Drawn where both peaks and intensities are known."""
    assert "roofline" not in figures(all_ok)
    records = [
        record.model_copy(update={"metrics": {**record.metrics, "gb_per_s": 100.0}})
        for record in all_ok.records
    ]
    known = replace(all_ok, records=tuple(records), observations=(made.peaks(float32=52e12),))
    (place,) = figures(known)["roofline"].axes
    roof, *marks = [line for line in place.lines if len(line.get_xdata())]
    assert roof.get_ydata()[-1] == 52.0
    assert len(marks) == len(all_ok.records)
    assert place.get_xscale() == place.get_yscale() == "log"
    (name,) = place.texts  # at the ridge, where no row lies under it
    assert name.xy == (roof.get_xdata()[1], 52.0)


def test_a_long_title_is_broken_into_lines() -> None:
    """Three axes beyond the one that runs along, one of them with a long name."""
    axes = {
        "batch": [1, 2],
        "seq_len": [1024, 2048],
        "heads": [8, 16],
        "options.accumulate_in_higher_precision": [False, True],
    }
    planned = made.trials(["standard"], axes)
    panels = figures(made.results(planned, [made.ok(trial) for trial in planned], axes=axes))[
        "latency"
    ].axes
    lines = [line for panel in panels for line in panel.get_title(loc="left").splitlines()]
    assert len(lines) > len(panels)
    assert max(map(len, lines)) <= TITLE_WIDTH


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_search_is_drawn_trial_by_trial() -> None:
    """One panel for each search, its trials as points in the order proposed; no speed-up, for no
    two share a point.
    """
    found = figures(search().results())
    assert "speedup" not in found
    panels = found["latency"].axes
    assert [panel.get_title(loc="left") for panel in panels] == ["Seq Len 64", "Seq Len 128"]
    assert [panel.get_xlabel() for panel in panels] == ["Trial", "Trial"]
    for panel in panels:
        (container,) = panel.containers
        assert set(container.lines[0].get_xdata()) <= {1, 2, 3, 4, 5}
        assert container.lines[0].get_linestyle() == "None"


def test_nothing_timed_is_nothing_drawn() -> None:
    """No figure instead of an empty one."""
    assert figures(made.results(made.trials(["standard"], made.AXES), [])) == {}


@pytest.mark.slow
def test_plots_are_written_as_png_and_svg(all_ok: Results, tmp_path: Path) -> None:
    """The same results give the same bytes."""
    paths = write_plots(all_ok, tmp_path / "plots")
    assert {path.suffix for path in paths} == {".png", ".svg"}
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    first = paths[1].read_bytes()
    assert b"improved" in first
    write_plots(all_ok, tmp_path / "plots")
    assert paths[1].read_bytes() == first
