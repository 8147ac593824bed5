"""A file is a workload: its params are read from its text, and what it draws and computes is what
its functions say.
"""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from orchestrator.errors import SweepFileError, UnknownNameError
from orchestrator.plan.sweep import Sweep
from orchestrator.usercode import workload_file, workloads
from orchestrator.usercode.functions import WorkloadError
from orchestrator.usercode.text import ask_python
from orchestrator.usercode.text.file_facts import read
from orchestrator.workload import Config, Problem

SCALE = """
from typing import Annotated, Literal
import torch as th
from pydantic import Field

Kind = Literal["normal", "uniform"]
WIDTH = 8
columns = {"rows": "Rows"}


def inputs(
    rows: Annotated[int, Field(ge=1)],
    width: int = WIDTH,
    dtype: th.dtype = th.float32,
    kind: Kind = "normal",
    steps: list[int] = [1, 2],
    rate=0.5,
    limit: int | None = None,
):
    return {"x": th.randn(rows, width, dtype=dtype), "options": [rate, {"table": th.arange(rows)}]}


def reference(x, options):
    rate, tables = options
    return x * rate + tables["table"][:, None]


def work(rows, width, dtype):
    return {"flops": 2 * rows * width, "bytes": 2 * rows * width * dtype.itemsize, "tokens": rows}


def scaled(x, options):
    return x * options[0] + options[1]["table"][:, None]
"""
SWEEP = "name: s\nworkload: ./scale.py\nimplementations: ['./scale.py:scaled']\naxes: {rows: [2]}\n"


SMALL = "def inputs(rows: int): ...\ndef reference(x): ..."


@pytest.fixture
def scale(tmp_path: Path) -> Path:
    path = tmp_path / "scale.py"
    path.write_text(SCALE)
    return path


def config(workload: workload_file.FileWorkload, **params: object) -> Config:
    return Config(workload.params(**params).model_dump(), "cpu")


def test_the_text_says_what_python_says(scale: Path) -> None:
    """Reading and importing agree on every parameter, so that neither can drift from the other."""
    assert read(scale) == ask_python.facts(scale)


def test_the_file_is_not_imported_to_be_planned(scale: Path) -> None:
    """Its import may take seconds, and fail where its GPU is not."""
    scale.write_text("raise RuntimeError('imported')\n" + SCALE)
    sweep = Sweep.parse(SWEEP, scale.parent)
    assert [trial.params["rows"] for trial in sweep.trials] == [2]
    assert sweep.workload.work(sweep.params(sweep.trials[0]), "").bytes == 2 * 2 * 8 * 4


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("rows: [0]", "sweep:4: axes.rows[0]: must be greater than or equal to 1"),
        ("rows: [2], kind: [norml]", "did you mean 'normal'?"),
        ("rows: [2], dtype: [float31]", "torch has no dtype 'float31' (did you mean 'float32'?)"),
        ("rows: [2], widht: [3]", "scale has no param 'widht' (did you mean 'width'?)"),
        ("rows: [true]", "must be an integer"),
        ("width: [2]", "required by workload scale"),
    ],
)
def test_params_that_do_not_fit_are_refused(scale: Path, params: str, said: str) -> None:
    """With line, parameter, rule, value and nearest name, as for a model written by hand."""
    with pytest.raises(SweepFileError, match=r"sweep:\d") as refused:
        Sweep.parse(SWEEP.replace("rows: [2]", params), scale.parent)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def inputs(n: int): ...", "defines no reference"),
        (
            "def reference(x): ...\nWORKLOAD = Workload(1)",
            "defines no inputs; to use its Workload, write w.py:WORKLOAD",
        ),
        ("def inputs(n): ...\ndef reference(x): ...", "inputs: n has neither a type nor a default"),
        ("def inputs(n: int:", "does not parse as Python on line 1"),
        ("def inputs(*n): ...\ndef reference(x): ...", "inputs has *n: each param"),
        (
            "def inputs(n: bytes): ...\ndef reference(x): ...",
            "parameter n of inputs is <class 'bytes'>",
        ),
        (
            f"{SMALL}\ndef unsupported(rovs): ...",
            "w.py:3: unsupported takes 'rovs', and inputs has no such param (did you mean 'rows'?)",
        ),
        (f"{SMALL}\ndef state(*, q): ...", "w.py:3: state takes 'q', and inputs has no such param"),
        (f"{SMALL}\ncases = 5", "w.py:3: cases is 5: cases must be a list of dicts of params, or"),
        (f"{SMALL}\ncases = [5]", "w.py:3: one of cases is 5: cases must be a list of dicts"),
        (f"{SMALL}\nwrites = 5", "w.py:3: writes is 5: writes must be a tuple of names of inputs"),
    ],
)
def test_what_is_no_workload_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    """And what to do about it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "w.py").write_text(text)
    with pytest.raises(UnknownNameError) as refused:
        workloads.find("./w.py", tmp_path)
    assert said in str(refused.value)


def test_the_same_seed_draws_the_same_and_disturbs_nobody(scale: Path) -> None:
    """The generators go on afterwards as if nothing had been drawn."""
    workload = workload_file.load(scale)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = workload.inputs(config(workload, rows=4), "", 7)
    assert torch.equal(torch.random.get_rng_state(), before)
    again, other = (workload.inputs(config(workload, rows=4), "", seed) for seed in (7, 8))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("kind", ["str", 'Literal["bfloat16", "float16"]'])
def test_a_dtype_that_is_asked_for_by_name_is_given_by_name(tmp_path: Path, kind: str) -> None:
    """A file that writes `dtype: str` looks it up in torch itself."""
    path = tmp_path / "named.py"
    path.write_text(
        "from typing import Literal\n\nimport torch\n\n\n"
        f"def inputs(n: int, dtype: {kind}):\n"
        "    return torch.randn(n, dtype=getattr(torch, dtype))\n\n\n"
        "def reference(x):\n    return 2 * x\n"
    )
    workload = workload_file.load(path)
    (x,) = workload.inputs(Config({"n": 3, "dtype": "bfloat16"}, "cpu"), "", 1)
    assert x.dtype is torch.bfloat16


def test_a_param_dtype_need_not_be_one_of_torch() -> None:
    """A format that torch lacks, say, is what the file says it is."""
    given = Config({"dtype": "nf4"}, "cpu")
    assert given.dtype == "nf4"  # type: ignore[comparison-overlap]


def test_the_reference_gets_the_tree_in_float64(scale: Path) -> None:
    """Floating tensors in the precision asked for, integers and numbers as they are."""
    workload = workload_file.load(scale)
    given = config(workload, rows=4, rate=0.25)
    tensors = workload.inputs(given, "", 1)
    assert workload.calls.input_names(given) == ("x", "options[1].table")
    answer = workload.reference(Problem(given, "", tensors, {}, torch.float64, 1e9, 0))
    assert answer.dtype is torch.float64
    assert torch.equal(answer, tensors[0].double() * 0.25 + tensors[1][:, None])


def test_what_follows_the_seed_is_the_workloads_fault(tmp_path: Path) -> None:
    """A number drawn anew for each call would make the rows of one trial different problems."""
    path = tmp_path / "drawn.py"
    path.write_text(
        "import random, torch\n"
        "def inputs(n: int): return torch.randn(n), random.random()\n"
        "def reference(x, rate): return x * rate\n"
    )
    workload = workload_file.load(path)
    workload.inputs(config(workload, n=2), "", 1)
    with pytest.raises(WorkloadError, match="the input rate follows the seed"):
        workload.inputs(config(workload, n=2), "", 2)


def test_unstated_work_is_counted(tmp_path: Path) -> None:
    """Bytes of inputs and outputs, FLOPs of matrix products; a reference that asks for values is
    carried out.
    """
    path = tmp_path / "product.py"
    path.write_text(
        "import torch\n"
        "def inputs(n: int): return torch.randn(n, 3), torch.randn(3, 5)\n"
        "def reference(a, b): return a @ b if a.shape[0] != 7 or float(a.sum()) else a\n"
    )
    workload = workload_file.load(path)
    for n in (4, 7):
        given = config(workload, n=n)
        work = workload.calls.counted_work(given, workload.inputs(given, "", 1))
        assert (work.flops, work.bytes) == (2 * n * 3 * 5, 4 * (3 * n + 15 + 5 * n))


def test_a_reference_makes_tensors_on_its_device_where_its_work_is_counted(tmp_path: Path) -> None:
    """As where it is verified; the meta device, on which masks select nothing, stands for a GPU."""
    path = tmp_path / "masked.py"
    path.write_text(
        "import torch\n"
        "def inputs(n: int): return torch.randn(n)\n"
        "def reference(x):\n"
        "    reference.made.append(torch.arange(len(x)).device.type)\n"
        "    assert len(reference.made) > 1, 'the first call counts without computing'\n"
        "    return x\n"
        "reference.made = []\n"
    )
    workload = workload_file.load(path)
    given = Config({"n": 4}, "meta")
    workload.calls.counted_work(given, workload.inputs(given, "", 1))
    assert workload.calls.get("reference", given).made == ["meta", "meta"]


def test_a_model_of_params_is_frozen(scale: Path) -> None:
    """As those written by hand are."""
    params = workload_file.load(scale).params(rows=1)
    with pytest.raises(ValidationError, match="frozen"):
        params.rows = 2  # type: ignore[attr-defined]


STATE_AS_INPUT = """
import torch
def inputs(n: int):
    return {"x": torch.randn(n), "state": (torch.randn(n), torch.randn(n))}
def reference(x, state):
    return x + state[0] * state[1]
def sums(x, state):
    return x + state[0] * state[1]
"""


def test_state_is_an_input_like_others_where_the_file_draws_none(tmp_path: Path) -> None:
    """A cell's state, say; parameters to load are drawn by a function of that name."""
    path = tmp_path / "cell.py"
    path.write_text(STATE_AS_INPUT)
    assert read(path) == ask_python.facts(path)
    assert read(path).arguments == ("x", "state")
    workload = workload_file.load(path)
    tensors = workload.inputs(config(workload, n=3), "", 1)
    assert workload.calls.input_names(config(workload, n=3)) == ("x", "state[0]", "state[1]")
    assert len(tensors) == 3
    sweep = tmp_path / "s.yaml"
    sweep.write_text(
        "name: s\nworkload: ./cell.py\nimplementations: ['./cell.py:sums']\naxes: {n: [2]}\n"
    )
    assert len(Sweep.load(sweep).trials) == 1
    path.write_text(STATE_AS_INPUT + "def state(n): return {'w': torch.ones(n)}\n")
    assert read(path).arguments == ("x",)
    assert read(path).takes_state


def test_state_and_unsupported_take_any_of_the_params(tmp_path: Path) -> None:
    """As `work` does."""
    path = tmp_path / "linear.py"
    path.write_text(
        "import torch\n"
        "def inputs(n: int, width: int = 3): return torch.randn(n, width)\n"
        "def state(width): return {'w': torch.randn(width)}\n"
        "def unsupported(n): return 'too many' if n > 5 else None\n"
        "def reference(x, state): return x * state['w']\n"
    )
    workload = workload_file.load(path)
    assert workload.state is not None
    assert workload.state(config(workload, n=2), "", 1)["w"].shape == (3,)
    assert workload.calls.unsupported(config(workload, n=2)) == ""
    assert workload.calls.unsupported(config(workload, n=6)) == "too many"
