"""Recorded tensors are read by name, checked against what is declared, and never written back."""

import os
from pathlib import Path

import pytest
import torch

from orchestrator.usercode import workload_file
from orchestrator.usercode.recorded import RecordingError, recorded
from orchestrator.usercode.source import source_hash
from orchestrator.usercode.workloads import targets
from orchestrator.workload import Config
from tests.support.safetensors_file import save


@pytest.fixture
def dump(tmp_path: Path) -> dict[str, torch.Tensor]:
    tensors = {
        "q": torch.randn(2, 3),
        "k": torch.randn(4).bfloat16(),
        "lengths": torch.tensor([[1], [2]]),
        "mask": torch.tensor([True, False]),
        "none": torch.empty(0, 5),
    }
    (tmp_path / "dumps").mkdir()
    save(tmp_path / "dumps" / "a.safetensors", q=tensors["q"], k=tensors["k"], none=tensors["none"])
    save(tmp_path / "dumps" / "b.safetensors", lengths=tensors["lengths"], mask=tensors["mask"])
    (tmp_path / "w.py").write_text(
        "import torch\nfrom orchestrator.usercode.recorded import recorded\n"
        "def inputs(scale: float = 1.0):\n"
        "    found = recorded('dumps/*.safetensors', {'q': ((2, None), torch.float32)})\n"
        "    return tuple(found.values())\n"
        "def reference(*given): return given[0]\n"
    )
    return tensors


def test_what_was_recorded_is_what_is_drawn(dump: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """Of every dtype, from several files, bit by bit; and a call that writes leaves the files
    alone.
    """
    workload = workload_file.load(tmp_path / "w.py")
    drawn = workload.inputs(Config({"scale": 1.0}, "cpu"), "", 1)
    assert all(
        torch.equal(one, other) for one, other in zip(drawn, dump_in_order(dump), strict=True)
    )
    drawn[0].zero_()
    assert torch.equal(workload.inputs(Config({"scale": 1.0}, "cpu"), "", 1)[0], dump["q"])


def dump_in_order(dump: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return [dump[name] for name in ("q", "k", "none", "lengths", "mask")]


def test_another_recording_is_another_workload(
    dump: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """A resumed sweep does not mix rows of two of them."""
    before = source_hash(*targets("./w.py", tmp_path))
    save(tmp_path / "dumps" / "b.safetensors", lengths=dump["lengths"] + 1, mask=dump["mask"])
    assert source_hash(*targets("./w.py", tmp_path)) != before


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (
            {"q": ((2, 4), torch.float32)},
            "q is float32 of shape (2, 3), expected float32 of shape (2, 4)",
        ),
        ({"q": ((2, 3), torch.float16)}, "expected float16 of shape (2, 3)"),
        ({"lenghts": ((2, 1), torch.int64)}, "holds no tensor 'lenghts' (did you mean 'lengths'?)"),
    ],
)
def test_what_is_not_as_declared_is_refused(
    dump: dict[str, torch.Tensor], tmp_path: Path, expected: dict[str, object], said: str
) -> None:
    """By name, dtype and shape."""
    with pytest.raises(RecordingError) as refused:
        recorded(_from_here(tmp_path), expected)
    assert said in str(refused.value)


def _from_here(tmp_path: Path) -> str:
    """The pattern from the folder of this file."""
    return os.path.relpath(tmp_path / "dumps", Path(__file__).parent) + "/*.safetensors"


def test_a_damaged_file_is_named(dump: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """Rather than read beyond its end."""
    file = tmp_path / "dumps" / "a.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(RecordingError, match=r"a\.safetensors: .* ends beyond the end of the file"):
        recorded(_from_here(tmp_path))
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(RecordingError, match="is not a safetensors file"):
        recorded(_from_here(tmp_path))
