"""The names that `import orchestrator` offers."""

import subprocess
import sys

import pytest

import orchestrator


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
