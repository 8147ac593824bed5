"""Names that must exist, axes that must agree, code that must parse: all refused before anything
runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import SweepFileError
from orchestrator.plan.sweep import Sweep
from tests.support.sweeps import LINE, NEXT_LINE, problem, problems, sweep, text


@pytest.mark.parametrize(
    ("field", "value", "where", "rule"),
    [
        (
            "axes",
            "{bacth: [1]}",
            "axes.bacth",
            "dilated_attention has no param 'bacth' (did you mean 'batch'?)",
        ),
        (
            "constants",
            "{head_dimm: 1}",
            "constants.head_dimm",
            "no param 'head_dimm' (did you mean 'head_dim'?)",
        ),
        (
            "implementations",
            "[{use: standard, params: {ringsize: 1}}]",
            "implementations[0].params.ringsize",
            "(did you mean 'ring_size'?)",
        ),
        (
            "implementations",
            "[standrd]",
            "implementations[0]",
            "no implementation 'standrd' (did you mean 'standard'?)",
        ),
        (
            "implementations",
            "[{use: improvd}]",
            "implementations[0].use",
            "(did you mean 'improved'?)",
        ),
        (
            "workload",
            "dilated_atention",
            "workload",
            "no workload 'dilated_atention' (did you mean 'dilated_attention'?)",
        ),
        (
            "zip",
            "[[batch, sequence]]",
            "zip[0]",
            "there is no axis 'sequence' (did you mean 'seq_len'?)",
        ),
        (
            "exclude",
            "['haeds == 1']",
            "exclude[0]",
            "'haeds', which is not known here (did you mean 'heads'?)",
        ),
        (
            "allow_outcomes",
            "[oomm]",
            "allow_outcomes[0]",
            "there is no outcome 'oomm' (did you mean 'oom'?)",
        ),
    ],
)
def test_a_name_that_does_not_exist_is_named_with_the_nearest_that_does(
    field: str, value: str, where: str, rule: str
) -> None:
    """Wherever a sweep file names something."""
    found = next(found for found in problems(text(**{field: value})) if found.field == where)
    assert rule in found.rule
    assert found.line == LINE.get(field, NEXT_LINE)


@pytest.mark.parametrize(
    ("fields", "where", "rule"),
    [
        ({"constants": "{batch: 4}"}, "constants.batch", "both an axis and a constant"),
        (
            {"implementations": "[{use: standard, params: {batch: 4}}]"},
            "implementations[0].params.batch",
            "batch is an axis of this sweep",
        ),
        ({"constants": "{device: cpu}"}, "constants.device", "give it with --device"),
        (
            {"axes": "{batch: [1, 2, 1]}"},
            "axes.batch",
            "the values of an axis must differ, and 1 stands 2 times",
        ),
        (
            {"implementations": "[standard, standard]"},
            "implementations[1]",
            "labels must be unique",
        ),
        (
            {"implementations": "[standard, {use: improved, label: standard}]"},
            "implementations[1]",
            "must be unique",
        ),
        ({"zip": "[[batch, heads]]"}, "zip[0]", "zipped axes must have equally many values"),
        (
            {"zip": "[[batch, seq_len], [seq_len, heads]]"},
            "zip[0]",
            "one group only, and 'seq_len' stands in 2 places",
        ),
        ({"zip": "[[batch, batch]]"}, "zip[0]", "one group only, and 'batch' stands in 2 places"),
        (
            {"axes": "{options.a b: [1]}"},
            "axes.options.a b",
            "the name of an option must be an identifier",
        ),
        (
            {"implementations": "[{use: standard, options: {a.b: 1}}]"},
            "implementations[0].options.a.b",
            "the name of an option must be an identifier",
        ),
        (
            {"implementations": "[{use: standard, options: {x: 1}}]", "axes": "{options.x: [1]}"},
            "implementations[0].options.x",
            "options.x is given here and for the whole sweep",
        ),
        (
            {"implementations": "[{use: standard, params: {options.x: 1}}]"},
            "implementations[0].params.options.x",
            "an option of one entry stands under its options: x",
        ),
        ({"exclude": "['batch = 1']"}, "exclude[0]", "is not a valid expression: invalid syntax"),
        ({"exclude": "['batch.real == 1']"}, "exclude[0]", "only options.<name> may have a dot"),
        ({"axes": "{batch: [two]}"}, "axes.batch[0]", "'two' reads 'two', which is not known here"),
    ],
)
def test_a_contradiction_is_refused(fields: dict[str, str], where: str, rule: str) -> None:
    """Two places that cannot both hold, or one that cannot hold at all."""
    found = [found for found in problems(text(**fields)) if found.field == where]
    assert any(rule in each.rule for each in found)


def test_zip_lengths_are_shown() -> None:
    """The user sees which axis is too short."""
    assert problem(text(zip="[[batch, heads]]")).found == '{"batch": 2, "heads": 1}'


def test_outcomes_that_exist_are_allowed() -> None:
    """Any of record.Outcome."""
    assert sweep(allow_outcomes="[oom, unsupported]").spec.allow_outcomes == ("oom", "unsupported")


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    """A user's file, beside the sweep file."""
    path = tmp_path / "mine.py"
    path.write_text("def build(config):\n    return lambda q, k, v: q\n")
    return path


@pytest.mark.parametrize("use", ["./mine.py:build", "mine.py:build", "../{folder}/mine.py:build"])
def test_a_users_file_is_found_from_the_sweep_file(
    tmp_path: Path, user_file: Path, use: str
) -> None:
    """Whatever the current directory is; its label is the file's stem."""
    source = text(implementations=f"['{use.format(folder=tmp_path.name)}']")
    assert Sweep.parse(source, base_dir=tmp_path).spec.implementations[0].label == "mine"


@pytest.mark.parametrize(
    ("content", "use", "rule"),
    [
        (None, "./none.py:build", "names a file that does not exist"),
        (
            "def build(config:\n",
            "./bad.py:build",
            "does not parse as Python on line 1: '(' was never closed",
        ),
        (
            "\0",
            "./bad.py:build",
            "does not parse as Python: source code string cannot contain null bytes",
        ),
        ("x = " + "(" * 999, "./bad.py:build", "does not parse as Python"),
        ("def build(config): ...\n", "./bad.py:biuld", "has no 'biuld' (did you mean 'build'?)"),
        ("def build(config): ...\n", "./bad.py", "or ./bad.py:build"),
        ("", "./bad.py:not a name", "there is no implementation './bad.py:not a name'"),
        ("", "./" + "x" * 400 + ".py:build", "names no file: [Errno 36] File name too long"),
        ("", ":build", "there is no implementation ':build'"),
        ("", "a..b:build", "there is no implementation 'a..b:build'"),
        ("", "no_such_package.module:build", "there is no module 'no_such_package.module'"),
        ("", "orchestrator.errors:biuld", "errors.py has no 'biuld'"),
    ],
)
def test_code_that_is_missing_or_does_not_parse_is_refused(
    tmp_path: Path, content: str | None, use: str, rule: str
) -> None:
    """With its line, and without importing it: what fails to import is a failed row."""
    if content is not None:
        (tmp_path / "bad.py").write_text(content)
    with pytest.raises(SweepFileError) as caught:
        Sweep.parse(text(implementations=f"['{use}']"), base_dir=tmp_path, name="sweep.yaml")
    (found,) = caught.value.problems
    assert found.field == "implementations[0]"
    assert found.line == LINE["implementations"]
    assert rule in found.rule


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    """It names no file."""
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    with pytest.raises(
        SweepFileError, match=r"names (no file: Symlink loop|a file that does not exist)"
    ):
        Sweep.parse(text(implementations="['./loop.py:build']"), base_dir=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "raise RuntimeError\ndef build(c): ...",
        "import nowhere\nbuild = nowhere.build",
        "from x import *",
        "globals()['build'] = 1",
    ],
)
def test_code_that_parses_is_left_to_its_trial(tmp_path: Path, content: str) -> None:
    """Reading it runs nothing, and shows nothing wrong for certain."""
    (tmp_path / "mine.py").write_text(content)
    assert Sweep.parse(text(implementations="['./mine.py:build']"), base_dir=tmp_path).trials


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (
            "import nowhere_to_be_found",
            "cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ("import sys\nsys.exit(0)", "cannot be imported: SystemExit: 0"),
        ("def broken(:", "cannot be imported: SyntaxError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("WORKLOAD = 3", "is a int, not a workload"),
        ("WORKLOD = 3", "has no attribute 'WORKLOAD' (did you mean 'WORKLOD'?)"),
    ],
)
def test_a_workload_that_cannot_be_had_is_refused(tmp_path: Path, content: str, rule: str) -> None:
    """A workload must be imported to know its params, so its faults are the sweep file's."""
    (tmp_path / "work.py").write_text(content)
    with pytest.raises(SweepFileError) as caught:
        Sweep.parse(text(workload="./work.py:WORKLOAD"), base_dir=tmp_path)
    (found,) = caught.value.problems
    assert (found.field, found.line) == ("workload", LINE["workload"])
    assert rule in found.rule


def test_an_implementation_of_another_workload_is_refused(tmp_path: Path) -> None:
    """A registered one solves the workload that it says."""
    (tmp_path / "work.py").write_text("from tests.support.toy_workload import toy as WORKLOAD\n")
    with pytest.raises(
        SweepFileError, match="standard solves dilated_attention, this sweep's workload is toy"
    ):
        Sweep.parse(
            text(workload="./work.py:WORKLOAD", implementations="[standard]", constants="{}"),
            base_dir=tmp_path,
        )
