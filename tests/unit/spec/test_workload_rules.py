"""What a workload states beside its functions is checked by plan, and said of the workload."""

from pathlib import Path

import pytest

from orchestrator.errors import SweepFileError
from orchestrator.plan.sweep import Sweep

FUNCTIONS = """
def inputs(n: int): ...
def reference(x): ...
def mine(x): ...
"""
SWEEP = "name: s\nworkload: ./w.py\nimplementations: ['./w.py:mine']\naxes: {n: [4]}\n"


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("columns = ['n']", 'its columns: must map params to headings, {"rows": "Rows"}'),
        ("columns = {'m': 'M'}", "its columns: there is no param 'm' (known: n)"),
        ("metrics = {'rate': 5}", "its metrics: must map names to formulas"),
        ("metrics = {'rate': 'm / seconds'}", "its metric rate: "),
        ("tolerance = -1", "its tolerance: must be a number above 0, or None, found -1"),
        ("tolerance = 'big'", 'its tolerance: must be a number above 0, or None, found "big"'),
        ("backward = 'no'", 'its backward: must be True or False, found "no"'),
        ("restore = 1", "its restore: must be True or False, found 1"),
        ("precision = 'fp16'", "its precision: must be the name of a precision"),
        ("writes = 'cache'", "its writes: must be a tuple of inputs' names"),
        ("writes = [5]", "its writes: must be a tuple of inputs' names"),
    ],
)
def test_what_it_states_wrongly_is_named(tmp_path: Path, stated: str, said: str) -> None:
    """By its name, rule and value, on the line of the sweep file that names the workload."""
    (tmp_path / "w.py").write_text(f"{stated}\n{FUNCTIONS}")
    with pytest.raises(SweepFileError) as refused:
        Sweep.parse(SWEEP, tmp_path)
    assert f"sweep:2: workload: {said}" in str(refused.value)


def test_what_it_states_rightly_is_taken(tmp_path: Path) -> None:
    """Each of them at once."""
    stated = "columns = {'n': 'N'}\nmetrics = {'rate': 'n / seconds'}\ntolerance = 1e-3\n"
    stated += "backward = True\nrestore = False\nprecision = 'tf32'\nwrites = ('x',)\n"
    (tmp_path / "w.py").write_text(f"{stated}{FUNCTIONS}")
    assert len(Sweep.parse(SWEEP, tmp_path).trials) == 1


def test_a_case_of_the_workload_is_named_as_its(tmp_path: Path) -> None:
    """By its number: no line of the sweep file has it."""
    cases = "cases = [{'name': 'a', 'n': 4}, {'name': 'b', 'n': 'many'}]\n"
    (tmp_path / "w.py").write_text(cases + FUNCTIONS)
    with pytest.raises(SweepFileError, match=r"\(in cases of \./w\.py:2\)"):
        Sweep.parse(SWEEP.partition("axes")[0], tmp_path)
