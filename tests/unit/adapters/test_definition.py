"""flashinfer-bench definitions as they are published: recorded inputs, dtypes of their own, defaults
of solutions, constraints.
"""

import json
from pathlib import Path

import pytest
import torch

from orchestrator.cli.adopt import adopt
from orchestrator.errors import RequestError, SweepFileError
from orchestrator.outcome import Outcome
from orchestrator.plan.sweep import Sweep
from orchestrator.usercode.workload_check import problems
from orchestrator.workload import Config, Problem
from tests.support.adapted import outcomes
from tests.support.safetensors_file import save

# Sums of the rows between offsets that are recorded; the answer is rounded as its author wrote it
REFERENCE = """
import torch
@torch.no_grad()
def run(rows, offsets, scale):
    count = offsets.shape[0] - 1
    out = torch.zeros((count, rows.shape[1]), dtype=torch.bfloat16)
    longest = torch.full((count,), 0.0, dtype=torch.float32)
    for at in range(count):
        part = rows[offsets[at] : offsets[at + 1]].to(torch.float32)
        out[at] = (part.sum(dim=0) * scale).to(torch.bfloat16)
        longest[at] = part.norm()
    return out, longest
"""
DEFINITION = {
    "name": "ragged_sum_d8",
    "op_type": "ragged",
    "axes": {
        "total": {"type": "var"},
        "ends": {"type": "var"},
        "d": {"type": "const", "value": 8},
    },
    "constraints": ["ends >= 2", "total == offsets[-1].item()"],
    "inputs": {
        "rows": {"shape": ["total", "d"], "dtype": "bfloat16"},
        "offsets": {"shape": ["ends"], "dtype": "int32"},
        "scale": {"shape": None, "dtype": "float32"},
    },
    "outputs": {
        "sums": {"shape": ["ends_less_one", "d"], "dtype": "bfloat16"},
        "norms": {"shape": ["ends_less_one"], "dtype": "float32"},
    },
    "reference": REFERENCE,
}
DEFINITION["axes"]["ends_less_one"] = {"type": "var"}
RETURNING = """
import torch
from .parts import lengths
def run(r, o, s):
    parts = torch.split(r.float(), lengths(o))
    return torch.stack([p.sum(0) * s for p in parts]).bfloat16(), torch.stack([p.norm() for p in parts])
"""
PARTS = "def lengths(offsets): return offsets.diff().tolist()\n"
INTO = """
import torch
def run(rows, offsets, scale, sums, norms):
    for at, part in enumerate(torch.split(rows.float(), offsets.diff().tolist())):
        sums[at] = part.sum(0) * scale
        norms[at] = part.norm()
"""
WRONG = INTO.replace("part.sum(0)", "part[:1].sum(0)")


def solution(name: str, spec: dict, **sources: str) -> str:
    return json.dumps(
        {
            "name": name,
            "definition": "ragged_sum_d8",
            "author": "tests",
            "spec": {
                "language": "python",
                "target_hardware": ["cpu"],
                "entry_point": "main.py::run",
            }
            | spec,
            "sources": [{"path": f"{key}.py", "content": text} for key, text in sources.items()],
        }
    )


def line(uuid: str, axes: dict[str, int], **offsets: object) -> str:
    inputs = {
        "rows": {"type": "random"},
        "offsets": offsets,
        "scale": {"type": "scalar", "value": 2},
    }
    workload = {"uuid": uuid, "axes": axes, "inputs": inputs}
    return json.dumps({"definition": "ragged_sum_d8", "workload": workload, "solution": None})


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("definitions/ragged", "workloads/ragged", "solutions/mine", "blob"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "definitions/ragged/ragged_sum_d8.json").write_text(json.dumps(DEFINITION))
    recorded = {"a": torch.tensor([0, 3, 4, 40]), "b": torch.tensor([0, 20, 30, 40])}
    stored = {name: one.to(torch.int32) for name, one in recorded.items()}
    save(tmp_path / "blob/o.safetensors", **stored)
    axes = {"total": 40, "ends": 4, "ends_less_one": 3}
    lines = [
        line(key, axes, type="safetensors", path="blob/o.safetensors", tensor_key=key)
        for key in recorded
    ]
    (tmp_path / "workloads/ragged/ragged_sum_d8.jsonl").write_text("\n".join(lines))
    mine = tmp_path / "solutions/mine"
    returns = {"destination_passing_style": False}
    (mine / "returning.json").write_text(
        solution("returning", returns, main=RETURNING, parts=PARTS)
    )
    (mine / "into.json").write_text(solution("into", {}, main=INTO))
    (mine / "wrong.json").write_text(solution("wrong", {}, main=WRONG))
    return tmp_path


@pytest.mark.slow
def test_recorded_inputs_and_answers_that_round_are_taken_as_they_are(dataset: Path) -> None:
    """Solutions write into outputs where they say nothing, and are called by position."""
    sweep = Sweep.load(adopt(dataset)[0])
    assert problems(sweep.workload, sweep.params(sweep.trials[0]), "cpu") == []
    assert [trial.params["recording"] for trial in sweep.trials[:2]] == ["a", "b"]
    ends = outcomes(sweep, "recording")
    wrong = {key[0] for key, outcome in ends.items() if outcome is Outcome.MISMATCH}
    right = {key[0] for key, outcome in ends.items() if outcome is Outcome.OK}
    assert (right, wrong) == ({"reference", "returning", "into"}, {"wrong"})


def test_the_truth_is_not_rounded_as_the_reference_is(dataset: Path) -> None:
    """Its casts to bfloat16 and float32 are left out."""
    sweep = Sweep.load(adopt(dataset)[0])
    workload = sweep.workload
    given = Config(sweep.params(sweep.trials[0]).model_dump(), "cpu")
    drawn = workload.inputs(given, "", 1)
    truth = workload.reference(Problem(given, "", drawn, {}, torch.float64, 1e9, 1))
    assert torch.equal(truth["sums"][0], 2 * drawn[0][:3].double().sum(dim=0))
    plain = workload.reference(Problem(given, "", drawn, {}, torch.bfloat16, 1e9, 1))
    assert {one.dtype for one in truth.values()} == {torch.float64}
    assert [one.dtype for one in plain.values()] == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"op_type": "sampling"}, "op_type is sampling, whose answers are drawn at random"),
        (
            {"outputs": {"y": {"shape": ["d"], "dtype": "float4_e2m1"}}},
            "outputs.y is float4_e2m1, which this adapter does not know",
        ),
    ],
)
def test_what_cannot_be_verified_is_named(dataset: Path, change: dict, said: str) -> None:
    """Before anything runs."""
    file = dataset / "definitions/ragged/ragged_sum_d8.json"
    file.write_text(json.dumps({**DEFINITION, **change}))
    with pytest.raises(RequestError) as refused:
        adopt(dataset)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            line(
                "a", {"total": 4}, type="safetensors", path="blob/none.safetensors", tensor_key="a"
            ),
            r"jsonl:1: inputs.offsets lies in .*none.safetensors, which does not exist",
        ),
        (line("a", {"total": 4}, type="random"), "the format states no range for it"),
        (line("a", {"total": 4}, type="file"), "known are random, scalar and safetensors"),
        ('{"workload": {"uuid": "a", "axes": {}}}', "jsonl:1: inputs: required, and not given"),
        ("[1", "jsonl:1 is no workload in JSON"),
    ],
)
def test_a_workload_that_cannot_be_read_is_refused_with_its_line(
    dataset: Path, text: str, said: str
) -> None:
    """And where its input is looked for."""
    file = adopt(dataset)[0]
    (dataset / "workloads/ragged/ragged_sum_d8.jsonl").write_text(text)
    with pytest.raises(SweepFileError, match=said):
        Sweep.load(file)


def test_a_solution_that_names_no_function_is_refused(dataset: Path) -> None:
    """By its entry point."""
    file = adopt(dataset)[0]
    (dataset / "solutions/mine/wrong.json").write_text(
        solution("wrong", {"entry_point": "kernel.py::run"}, main=WRONG)
    )
    with pytest.raises(SweepFileError, match=r"spec\.entry_point: must be .*'kernel\.py::run'"):
        Sweep.load(file)


def test_a_constraint_over_axes_makes_a_trial_unsupported(dataset: Path) -> None:
    """One over values of inputs is not asked."""
    calls = Sweep.load(adopt(dataset)[0]).workload.calls
    params = {"total": 4, "ends": 1, "ends_less_one": 0, "scale": 1.0, "recording": "a"}
    unsupported = calls.get("unsupported", None)
    assert unsupported(**params) == "the constraint ends >= 2 of ragged_sum_d8 does not hold"
    assert unsupported(**{**params, "ends": 2}) is None
