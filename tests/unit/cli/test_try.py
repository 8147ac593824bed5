"""`try` says right or wrong within seconds in this process; `repro` writes a script of exactly one
row's inputs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.demo import shipped, sweep_file
from orchestrator.cli.trying import repro, try_one, try_target
from orchestrator.driver.attempts import input_seed
from orchestrator.errors import RequestError, SweepNotFoundError
from orchestrator.measure.protocol import Measurement
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.results import sweep_directory
from orchestrator.results.journal import Journal
from orchestrator.trial import Trial
from orchestrator.usercode.implementation import AttemptEndedError
from orchestrator.worker.stages import Stages
from tests.conftest import ROOT
from tests.support import made
from tests.support.sweeps import TOYS

SWEEP = """\
name: toy
workload: ./matmul.py:WORKLOAD
implementations: [./matmul.py:right, "./matmul.py:forgets_a_transpose", "./matmul.py:raises"]
axes: {n: [16, 32]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: a file of implementations and a workload, and a sweep file beside it."""
    shutil.copy(TOYS / "matmul.py", tmp_path / "matmul.py")
    (tmp_path / "toy.yaml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tried(target: str, *values: str, check: bool = True) -> try_one.Tried:
    """One attempt at one implementation."""
    selection = try_target.attempts(target, values)
    (attempt,) = selection.attempts
    left = selection.left_out
    assert left == 0
    return try_one.run(attempt, check=check)


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_right_implementation_is_right_and_has_one_time() -> None:
    """What nobody gave is as the sweep file beside it states it."""
    found = tried("./matmul.py:right", check=False)
    text = "\n".join(found.lines)
    assert found.outcome is Outcome.OK
    assert text.startswith("✓ right: relative error")
    assert " ms" in text
    assert "TFLOP/s" in text


def test_what_is_wrong_on_inputs_with_structure_alone_has_no_wrong_elements(
    tmp_path: Path,
) -> None:
    """The elements that are shown are of the workload's own inputs, and those are right."""
    (tmp_path / "softmax.py").write_text(
        "import torch\n"
        "def inputs(n: int):\n    return torch.randn(n, n)\n"
        "def reference(x):\n    return torch.softmax(x, 1)\n"
        "def unshifted(x):\n    return x.exp() / x.exp().sum(1, keepdim=True)\n"
    )
    found = tried(f"{tmp_path}/softmax.py:unshifted", "n=64")
    assert found.lines[0].startswith("✗ mismatch: on large inputs: output[")
    assert found.lines[-1].startswith("  its outputs are right on the workload's own inputs")


@pytest.mark.usefixtures("folder")
def test_what_is_wrong_only_once_it_is_timed_has_no_wrong_elements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first call was right, and nothing is said of its elements."""

    def verify_again(_stages: Stages, _measurement: Measurement) -> None:
        raise AttemptEndedError(Outcome.MISMATCH, "Mismatch", "as it is timed: no")

    monkeypatch.setattr(Stages, "verify_again", verify_again)
    found = tried("./matmul.py:right", check=False)
    assert found.outcome is Outcome.MISMATCH
    assert "its outputs were right before it was timed" in "\n".join(found.lines)
    assert "every element" not in "\n".join(found.lines)


def test_what_a_sweep_file_says_of_an_implementation_holds_here(folder: Path) -> None:
    """Its params, options and keywords; a file beside it that lists it comes before one that does
    not.
    """
    (folder / "a.yaml").write_text(
        SWEEP.replace("n: [16, 32]", "n: [48]").replace("./matmul.py:right, ", "")
    )
    (folder / "z.yaml").write_text(
        SWEEP.replace(
            "[./matmul.py:right", '[{use: "./matmul.py:right", options: {tile: 8}}'
        ).replace("16, 32", "24")
    )
    (folder / "toy.yaml").unlink()
    selection = try_target.attempts("./matmul.py:right")
    (attempt,) = selection.attempts
    note = selection.note
    assert (attempt.trial.params["n"], attempt.trial.options) == (24, {"tile": 8})
    assert note == "params that were not given are as in z.yaml"


@pytest.mark.slow
def test_a_file_that_is_a_workload_needs_no_sweep_file(folder: Path) -> None:
    """Its own inputs have defaults; a plain function of them is tried, right or wrong."""
    shutil.copy(
        ROOT / "implementations" / "starter" / "workload" / "softmax.py", folder / "softmax.py"
    )
    assert tried("./softmax.py:two_passes", "rows=8", "width=64").outcome is Outcome.OK
    wrong = tried("./softmax.py:half_sums", "rows=8", "width=64")
    assert wrong.outcome is Outcome.MISMATCH
    assert any("elements are wrong" in line for line in wrong.lines)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("inputs", "reference", "said"),
    [
        ("torch.randn(n), torch.randn(n)", "{}['x']", "reference fails with KeyError: 'x'"),
        ("torch.randn(n)", "a + b", "reference fails with TypeError"),
    ],
)
def test_a_fault_of_the_workload_is_not_put_on_an_implementation(
    folder: Path, inputs: str, reference: str, said: str
) -> None:
    """Nor is it a traceback of the harness alone."""
    (folder / "add.py").write_text(
        f"import torch\ndef inputs(n: int):\n    return {inputs}\n"
        f"def reference(a, b):\n    return {reference}\n"
        "def mine(a, b):\n    return a + b\n"
    )
    found = tried("./add.py:mine", "n=8")
    assert found.outcome is Outcome.FAILED
    assert found.lines[-1].startswith(f"✗ workload ./add.py: {said}")


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_check_leaves_the_timing_out() -> None:
    """For a first look, or under a profiler."""
    found = tried("./matmul.py:right", "n=64")
    assert found.outcome is Outcome.OK
    assert found.lines[-1].endswith("not timed")


@pytest.mark.usefixtures("folder")
def test_a_wrong_one_shows_the_first_wrong_elements_beside_the_right_ones() -> None:
    """How many, which, what it is and what it should be."""
    found = tried("./matmul.py:forgets_a_transpose", "n=16")
    text = "\n".join(found.lines)
    assert found.outcome is Outcome.MISMATCH
    assert "of 256 elements are wrong" in text
    heading = next(
        line.split()
        for line in found.lines
        if "element" in line and "right" in line and "got" in line
    )
    assert heading == ["element", "got", "right"]
    assert "output[0, 0]" in text or "output[0, 1]" in text


@pytest.mark.usefixtures("folder")
def test_one_that_raises_shows_its_whole_traceback() -> None:
    """Down to the line of the user's file, and the type of the exception in the verdict."""
    found = tried("./matmul.py:raises", "n=16")
    text = "\n".join(found.lines)
    assert found.outcome is Outcome.FAILED
    assert "Traceback (most recent call last)" in text
    assert 'raise RuntimeError("the tiles do not fit")' in text
    assert "✗ failed: RuntimeError: the tiles do not fit (matmul.py:" in text


@pytest.mark.usefixtures("folder")
def test_params_are_those_of_a_sweep_file_derived_ones_included() -> None:
    """As a file would state them; a name that is not there is refused with the nearest."""
    selection = try_target.attempts("improved", ["seq_len=64", "batch=2", "heads=6"])
    (attempt,) = selection.attempts
    note = selection.note
    assert note.endswith("sweeps/quick.yaml")
    assert {**attempt.trial.params, "batch": 2, "seq_len": 64, "heads": 6} == attempt.trial.params
    assert attempt.trial.params["segment_lengths"] == [16, 32, 64]
    with pytest.raises(RequestError, match="did you mean 'seq_len'"):
        try_target.attempts("improved", ["seq_lne=64"])


@pytest.mark.usefixtures("folder")
def test_a_sweep_file_is_tried_by_the_rows_that_only_selects() -> None:
    """The same trials, with the same inputs, as the sweep would have."""
    selection = try_target.attempts("toy.yaml", only="n == 32 and implementation == 'matmul:right'")
    found = selection.attempts
    left = selection.left_out
    sweep = Sweep.load("toy.yaml")
    assert ([one.trial for one in found], left) == ([sweep.trials[1]], 0)
    assert found[0].seed == input_seed(sweep.spec, sweep.trials[1], 1)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("target", "values", "said"),
    [
        ("toy.yaml", ["n=3"], "states its params itself"),
        ("./matmul.py:right", ["n"], "a param is name=value"),
        ("./matmul.py:rihgt", [], "rihgt"),
        ("./nowhere.py:build", [], "which workload|does not exist"),
        ("nothing", [], "no sweeps under"),
        ("standrad", [], "did you mean 'standard'"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_a_sentence(
    target: str, values: list[str], said: str
) -> None:
    """Field, value, what to do."""
    with pytest.raises(RequestError, match=said):
        try_target.attempts(target, values)


def test_more_trials_than_one_look_takes_are_counted(folder: Path) -> None:
    """The first few are tried."""
    (folder / "many.yaml").write_text(SWEEP.replace("[16, 32]", "[4, 5, 6, 7, 8]"))
    selection = try_target.attempts("many.yaml")
    found = selection.attempts
    left = selection.left_out
    assert (len(found), left) == (try_target.MOST, 15 - try_target.MOST)


def run_before(folder: Path) -> tuple[Trial, ...]:
    """A sweep that was run, whose second implementation was wrong in its second round."""
    sweep = Sweep.load(folder / "toy.yaml")
    directory = sweep_directory.SWEEPS / "toy" / made.SWEEP_ID
    meta = made.results(sweep.trials, [], axes={"n": [16, 32]}).meta
    meta = meta.model_copy(
        update={"spec": sweep.spec, "base_dir": str(folder), "device": "cpu", "name": "toy"}
    )
    sweep_directory.create(directory, meta, SWEEP)
    with Journal(directory) as journal:
        journal.append(made.bad(sweep.trials[2], Outcome.MISMATCH, round=2))
    return sweep.trials


def test_a_row_is_tried_by_its_id_on_the_inputs_it_had(folder: Path) -> None:
    """What the reason of a failed row ends with."""
    trials = run_before(folder)
    selection = try_target.attempts(trials[2].trial_id[:8])
    (attempt,) = selection.attempts
    assert attempt.trial == trials[2]
    assert try_one.run(attempt, check=True).outcome is Outcome.MISMATCH
    with pytest.raises(SweepNotFoundError, match="no trial 0123456789abcdef"):
        try_target.attempts("0123456789abcdef")


@pytest.mark.slow
def test_repro_writes_a_script_that_runs_by_itself(folder: Path) -> None:
    """On the inputs of the round that was wrong; it is never written over another file."""
    trial = run_before(folder)[2]
    path = repro.write(trial.trial_id[:8])
    text = path.read_text()
    assert path.name == f"repro_{trial.trial_id}.py"
    assert "in round 2" in text
    done = subprocess.run(
        [sys.executable, path.name, "--calls", "2"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    assert "of 256 elements are wrong" in done.stdout
    assert "median of 2 calls" in done.stdout
    with pytest.raises(RequestError, match="already exists"):
        repro.write(trial.trial_id)


def test_a_label_cannot_end_the_docstring_of_a_script(folder: Path) -> None:
    """A label is any printable text."""
    trials = run_before(folder)
    results = sweep_directory.load(sweep_directory.SWEEPS / "toy" / made.SWEEP_ID)
    evil = trials[0].model_copy(update={"implementation": '"""\nimport os\\'})
    compile(repro.script(results, evil, "repro.py"), "repro.py", "exec")


def test_demo_runs_a_sweep_that_comes_with_the_package() -> None:
    """`quick` is there, wherever the package lies; another name is refused with those that are."""
    assert sweep_file().stem == "quick"
    assert Sweep.load(sweep_file()).trials
    with pytest.raises(RequestError, match="did you mean 'quick'"):
        sweep_file("quik")
    assert "quick" in shipped()


@pytest.mark.slow
def test_try_starts_without_what_takes_seconds_to_import(folder: Path) -> None:
    """Torch's compiler, which counting FLOPs would import; Ray, MLflow and pandas."""
    source = ROOT / "implementations" / "starter" / "workload" / "softmax.py"
    shutil.copy(source, folder / "softmax.py")
    heavy = {"torch._dynamo", "sympy", "ray", "mlflow", "pandas"}
    program = (
        "import sys\n"
        "from orchestrator.__main__ import main\n"
        "sys.argv = ['orchestrator', 'try', './softmax.py:two_passes', 'rows=8', 'width=64']\n"
        "try:\n    main()\n"
        f"finally:\n    print(sorted({heavy!r} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "✓ right" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
