"""What `list` says: implementations, workloads, and what each needs."""

from __future__ import annotations

import json

import pytest

from implementations import IMPLEMENTATIONS, DilatedAttentionParams
from orchestrator.cli import catalog, main
from orchestrator.machine import nvml
from orchestrator.usercode import registry
from orchestrator.workload import Registered


def test_every_implementation_is_listed_with_what_it_needs() -> None:
    """In the order of the registry, as JSON values."""
    found = json.loads(json.dumps(catalog.as_object()))
    assert [entry["name"] for entry in found["implementations"]] == list(IMPLEMENTATIONS)
    for entry in found["implementations"]:
        assert entry["summary"]
        assert entry["form"] in found["workloads"][0]["forms"]


def test_every_param_is_listed_with_its_type_and_default() -> None:
    """But the device, which is the run's."""
    (workload,) = catalog.as_object()["workloads"]
    listed = {param["name"]: (param["type"], param["default"]) for param in workload["params"]}
    assert listed.keys() == DilatedAttentionParams.model_fields.keys() - {"device"}
    assert listed["seq_len"] == ("integer", "required")
    assert listed["segment_lengths"] == ("list of integer", "required")
    assert listed["dtype"] == ("float32 | float16 | bfloat16", "float32")


def test_the_text_names_them_all_and_the_other_ways() -> None:
    """A sweep may name files and modules, too."""
    found = catalog.as_text()
    assert all(
        name in found
        for name in (*IMPLEMENTATIONS, *(DilatedAttentionParams.model_fields.keys() - {"device"}))
    )
    assert "./path/to/file.py:attribute" in found


def test_explain_tells_how_improved_chooses(cli, bare_python) -> None:
    """Without torch, after the tables; JSON has it in any case."""
    found = bare_python("list", "--explain")
    assert found.code == 0
    assert "improved chooses:" in found.out
    assert "fused (one Triton launch)" in found.out
    assert "improved chooses:" not in cli("list").out
    assert any("views" in entry["explain"] for entry in catalog.as_object()["implementations"])


@pytest.mark.parametrize(
    ("needs", "gpus", "missing"),
    [
        ("", 0, []),
        ("CUDA", 0, ["CUDA"]),
        ("CUDA", 1, []),
        ("4 GPUs", 2, ["4 GPUs"]),
        ("4 GPUs", 4, []),
        ("1 GPU, json", 1, []),
        ("CUDA, no_such_package", 1, ["no_such_package"]),
        ("a good mood", 8, ["a good mood"]),
    ],
)
def test_needs_are_held_against_the_machine(needs, gpus, missing):
    """GPUs by count, packages by name; what nobody understands is missing rather than there."""
    assert catalog.missing(needs, gpus) == missing


@pytest.fixture
def one_that_needs_four_gpus(monkeypatch):
    entry = Registered(
        "somewhere:build", "dilated_attention", "qkv", "spread over four", needs="4 GPUs"
    )
    ours = registry.implementations()
    monkeypatch.setattr(registry, "implementations", lambda: {**ours, "spread": entry})
    monkeypatch.setattr(nvml, "count", lambda: 1)


@pytest.mark.usefixtures("one_that_needs_four_gpus")
def test_the_table_says_what_this_machine_lacks(capsys):
    """One line per implementation, and what there is at the end."""
    assert main.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "no 4 GPUs" in next(line for line in lines if line.startswith("spread"))
    assert " yes " in next(line for line in lines if line.startswith("standard"))
    assert any(line.startswith("This machine:") and line.endswith("1 GPU.") for line in lines)


@pytest.mark.usefixtures("one_that_needs_four_gpus")
def test_json_lists_what_is_missing(capsys):
    """Empty where it can run here."""
    assert main.main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    missing = {item["name"]: item["missing"] for item in found["implementations"]}
    assert missing["spread"] == ["4 GPUs"]
    assert missing["standard"] == []
    assert found["machine"]["gpus"] == 1
