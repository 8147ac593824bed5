"""CSV, Markdown and LaTeX say the same as the table, each in its own way."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import RequestError
from orchestrator.outcome import Outcome
from orchestrator.report import FILES, FORMATS, render, write_reports
from orchestrator.results.results import Results
from tests.support import made
from tests.support.golden import same_as_golden

ONE = {"batch": [1], "seq_len": [1024], "heads": [8]}


@pytest.mark.parametrize("form", ["md", "csv", "latex"])
def test_each_format_of_a_sweep_with_some_of_everything(mixed: Results, form: str) -> None:
    """To the byte."""
    same_as_golden(f"mixed.{form}", render(mixed, form))


def test_csv_gives_back_every_value_unrounded(mixed: Results) -> None:
    """Reading it yields the journal's figures, flags and errors."""
    read = list(csv.DictReader(io.StringIO(render(mixed, "csv"))))
    assert [float(line["latency_ms"]) for line in read[:2]] == [
        record.metrics["latency_ms"] for record in mixed.records[:2]
    ]
    assert read[1]["flags"] == "noisy throttled"
    assert read[9]["error_message"] == mixed.records[9].error.message
    assert [line["outcome"] for line in read[8:]] == ["oom", "mismatch", "ok", "not run"]


def test_csv_keeps_params_apart_from_columns_of_the_same_name() -> None:
    """A param named `outcome` or `log` does not hide ours; lists are JSON."""
    axes = {**ONE, "outcome": ["sunny"]}
    planned = made.trials(["standard"], axes, pattern=[1, 2])
    line = next(
        csv.DictReader(
            io.StringIO(render(made.results(planned, [made.ok(planned[0])], axes=axes), "csv"))
        )
    )
    assert (line["outcome"], line["params.outcome"]) == ("ok", "sunny")
    assert json.loads(line["pattern"]) == [1, 2]


def test_a_label_with_a_pipe_stays_in_its_cell() -> None:
    """Markdown and LaTeX show the characters that would end a cell or start a command."""
    trial = made.trials(["standard"], ONE)[0].model_copy(update={"implementation": "a|b_c<i>&"})
    results = made.results(
        [trial], [made.bad(trial, Outcome.FAILED)], axes=ONE, implementations=("standard",)
    )
    assert r"| a\|b_c\<i\>& |" in render(results, "md")
    assert r"a\textbar{}b\_c\textless{}i\textgreater{}\& & 1" in render(results, "latex")


def test_a_large_table_is_folded_and_a_huge_one_cut() -> None:
    """What is pasted into an issue stays within an issue's limit."""
    axes = {**ONE, "batch": list(range(1, 501))}
    planned = made.trials(["standard"], axes)
    text = render(made.results(planned, [made.ok(trial) for trial in planned], axes=axes), "md")
    assert "<details><summary>All 500 rows</summary>" in text
    assert "The first 400 of 500 rows" in text
    assert len(text) < 65_536


def test_an_unknown_format_names_the_known_ones(mixed: Results) -> None:
    """The request is refused with the choices."""
    with pytest.raises(RequestError, match="'pdf': use one of txt, md, csv, latex, html"):
        render(mixed, "pdf")


def test_reports_are_written_beside_the_journal(mixed: Results, tmp_path: Path) -> None:
    """Four files, whole, and nothing else."""
    results = Results(mixed.meta, mixed.records, mixed.environments, tmp_path)
    write_reports(results)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert (tmp_path / "summary.txt").read_text(encoding="utf-8") == render(results)


def test_reports_need_neither_torch_nor_ray_nor_mlflow() -> None:
    """A fresh interpreter in which importing them is an error renders every format."""
    script = (
        "import sys\n"
        "for name in ('torch', 'ray', 'mlflow', 'pandas', 'matplotlib'): sys.modules[name] = None\n"
        "from tests.support import made\n"
        "from orchestrator.report import FORMATS, render\n"
        "planned = made.trials(['standard'], made.AXES)\n"
        "results = made.results(planned, [made.ok(trial) for trial in planned])\n"
        "print([bool(render(results, form)) for form in FORMATS])\n"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, env=environment
    )
    assert done.stdout.strip() == str([True] * len(FORMATS)), done.stderr


def test_a_long_table_breaks_over_the_pages_of_a_paper() -> None:
    """Its head is repeated, its caption stands once, and every row is in it."""
    axes = {"batch": list(range(1, 51)), "seq_len": [1024], "heads": [8]}
    planned = made.trials(["standard"], axes)
    text = render(made.results(planned, [made.ok(trial) for trial in planned], axes=axes), "latex")
    assert text.startswith(r"% needs \usepackage{booktabs,amssymb,longtable}")
    assert (text.count("Implementation &"), text.count(r"\caption"), text.count("standard &")) == (
        2,
        1,
        50,
    )
    assert text.rstrip().endswith(r"\end{longtable}")
