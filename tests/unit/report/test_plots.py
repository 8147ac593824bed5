"""Figures are drawn from rows, one panel per combination of the other axes, and written whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.report.plots import figures, write_plots
from orchestrator.results.results import Results
from tests.unit.report import made
from tests.unit.report.test_answer_table import search

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")  # its parser of font patterns


def test_each_figure_has_a_panel_per_combination_and_a_line_per_implementation(all_ok: Results) -> None:
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
    lines = [container for panel in figures(mixed)["latency"].axes for container in panel.containers]
    points = {line.get_label(): 0 for line in lines}
    for line in lines:
        points[line.get_label()] += len(line.lines[0].get_xdata())
    assert points == {"standard": 4, "improved": 4, "multihead_standard": 1}


def test_one_shape_is_drawn_without_an_axis() -> None:
    """No numeric axis varies: one panel, a mark per implementation."""
    axes = {"batch": [1], "seq_len": [1024], "heads": [8]}
    planned = made.trials(["standard", "improved"], axes)
    panels = figures(made.results(planned, [made.ok(trial) for trial in planned], axes=axes))["latency"].axes
    assert len(panels) == 1
    assert len(panels[0].containers) == 2


def test_a_search_is_drawn_trial_by_trial() -> None:
    """One panel for each search, its trials as points in the order proposed; no speed-up, for no two share a point."""
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


def test_plots_are_written_as_png_and_svg(all_ok: Results, tmp_path: Path) -> None:
    """The same results give the same bytes."""
    paths = write_plots(all_ok, tmp_path / "plots")
    assert {path.suffix for path in paths} == {".png", ".svg"}
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    first = paths[1].read_bytes()
    assert b"improved" in first
    write_plots(all_ok, tmp_path / "plots")
    assert paths[1].read_bytes() == first
