"""The names that `import orchestrator` offers."""

import subprocess
import sys

import pytest

import orchestrator
from orchestrator.errors import RequestError
from tests.support import made


def test_every_name_of_the_interface_is_there():
    """Each in __all__ can be asked for, and says what it is."""
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name).__doc__
        assert name in dir(orchestrator)


def test_a_name_that_is_not_there_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Swoop'"):
        _ = orchestrator.Swoop


def test_importing_the_package_imports_nothing_heavy():
    """A workload's file imports orchestrator.workload in every trial's process: it must not pay for
    the rest.
    """
    code = "import orchestrator.workload, sys; print({'torch', 'ray', 'mlflow', 'orchestrator.api'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_completion_offers_the_interface_alone():
    """No import of the package's own."""
    assert {name for name in dir(orchestrator) if not name.startswith("_")} == {
        *orchestrator.__all__
    }


def test_run_takes_a_sweep_file(tmp_path):
    """And refuses one that is not there in a sentence, as the command line does."""
    with pytest.raises(RequestError, match=r"nothing\.yaml: file: cannot be read"):
        orchestrator.run(tmp_path / "nothing.yaml")


def test_results_are_shown_as_their_table_and_not_as_a_dump():
    """In a notebook as HTML in which a label is text, elsewhere in one line."""
    trials = made.trials(["<b>"], {"batch": [1], "seq_len": [64], "heads": [1]})
    found = orchestrator.Results.of(made.results(trials, [made.ok(trials[0])]))
    assert repr(found) == f"<Results {made.SWEEP_ID}: 1 of 1 rows ok>"
    assert "&lt;b&gt;" in found._repr_html_()
