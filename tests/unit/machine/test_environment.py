"""What is said of a machine: what must match, what is worth knowing, and that asking touches
nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.machine import environment, nvml
from orchestrator.machine.environment import code_state, commit_of, describe, differences, git_state


@pytest.fixture
def forgotten() -> Iterator[None]:
    """A process looks at its machine once; these tests change the machine."""
    looked_up = (
        environment._gpu_match,
        environment._know,
        environment._software,
        environment._limits,
    )
    for cached in looked_up:
        cached.cache_clear()
    yield
    for cached in looked_up:
        cached.cache_clear()


UUIDS = ("GPU-aaaa-1", "GPU-bbbb-2")
CLOCKS_MHZ = (1980, 1400)


def not_supported(*args: object) -> None:
    """NVML's answer to what a GPU does not know."""
    raise RuntimeError("not supported")


# NVML of a machine with two GPUs; the second has been given an application clock.
TWO_GPUS = SimpleNamespace(
    NVML_CLOCK_SM=1,
    nvmlInit=lambda: None,
    nvmlShutdown=lambda: None,
    nvmlSystemGetDriverVersion=lambda: "580.1",
    nvmlDeviceGetCount=lambda: 2,
    nvmlDeviceGetHandleByIndex=lambda index: range(2)[index],
    nvmlDeviceGetHandleByUUID=UUIDS.index,
    nvmlDeviceGetUUID=lambda gpu: UUIDS[gpu].encode(),
    nvmlDeviceGetName=lambda gpu: f"GPU model {gpu}",
    nvmlDeviceGetNumGpuCores=not_supported,
    nvmlDeviceGetEnforcedPowerLimit=lambda gpu: 700_000,
    nvmlDeviceGetApplicationsClock=lambda gpu, kind: CLOCKS_MHZ[gpu],
    nvmlDeviceGetDefaultApplicationsClock=lambda gpu, kind: CLOCKS_MHZ[0],
    nvmlDeviceGetMaxClockInfo=lambda gpu, kind: 1980,
    nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(total=80 * 2**30, used=(3 + gpu) * 2**20),
    nvmlDeviceGetPciInfo=lambda gpu: SimpleNamespace(busId=b"0000:0%d" % gpu),
)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, forgotten: None) -> None:
    """A machine with two GPUs, as far as NVML goes."""
    monkeypatch.setitem(sys.modules, "pynvml", TWO_GPUS)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_cpu_is_its_model_cores_threads_and_software() -> None:
    """All of it JSON, the same each time, and nothing of a GPU in it."""
    found = describe("cpu", threads=2)
    assert found["match"] == describe("cpu", threads=2)["match"]
    assert json.loads(json.dumps(found)) == found
    assert found["match"]["model"]
    assert found["match"]["cores"] >= 1
    assert found["match"]["threads"] == 2
    assert found["match"]["python"] == sys.version.split()[0]
    assert (found["match"]["cuda"], found["match"]["driver"]) == (None, None)
    assert {"host", "os", "git_commit", "git_dirty", "described_at"} <= set(found["know"])


def test_a_quota_bounds_the_cores_and_must_match(
    monkeypatch: pytest.MonkeyPatch, forgotten: None
) -> None:
    """A container's `--cpus`: as many threads as it has time for, and at least one."""
    cores = environment.usable_cores()
    free = describe("cpu")["match"]
    monkeypatch.setattr(environment, "cpu_quota", lambda: 0.5)
    environment._limits.cache_clear()
    assert environment.usable_cores() == 1
    assert describe("cpu")["match"]["threads"] == 1
    assert "cpu_quota: None, 0.5" in differences(free, describe("cpu")["match"])
    monkeypatch.setattr(environment, "cpu_quota", lambda: cores + 1.5)
    assert environment.usable_cores() == cores


def test_variables_that_change_results_must_match(
    monkeypatch: pytest.MonkeyPatch, forgotten: None
) -> None:
    """Each by its name, with both values."""
    monkeypatch.setattr(environment, "decisive", lambda: {"NCCL_ALGO": "Ring"})
    ring = describe("cpu")["match"]
    environment._limits.cache_clear()
    monkeypatch.setattr(
        environment, "decisive", lambda: {"NCCL_ALGO": "Tree", "TRITON_INTERPRET": "1"}
    )
    found = differences(ring, describe("cpu")["match"])
    assert found == ["variables.NCCL_ALGO: Ring, Tree", "variables.TRITON_INTERPRET: None, 1"]


def test_a_machine_without_quota_and_variables_is_described_as_it_always_was(
    monkeypatch: pytest.MonkeyPatch, forgotten: None
) -> None:
    """So that sweeps of earlier versions go on."""
    monkeypatch.setattr(environment, "decisive", dict)
    monkeypatch.setattr(environment, "cpu_quota", lambda: None)
    assert not {"variables", "cpu_quota"} & set(describe("cpu")["match"])


def test_threads_and_cap_must_match_and_host_need_not() -> None:
    """A trial on other threads is another measurement; a sibling machine of the same make is not."""
    assert "threads: 1, 2" in differences(
        describe("cpu", threads=1)["match"], describe("cpu", threads=2)["match"]
    )
    capped, free = describe("cuda", gpu_memory_gib=8.0)["match"], describe("cuda")["match"]
    assert differences(free, capped) == ["memory_cap_gib: None, 8.0"]
    assert describe("cpu", gpu_memory_gib=8.0)["match"]["memory_cap_gib"] is None
    assert "host" not in describe("cpu")["match"]


@pytest.mark.usefixtures("gpus")
def test_a_gpu_is_described_by_its_driver() -> None:
    """Model, driver, clocks policy and power limit must match; what the GPU does not know is null."""
    match, know = describe("cuda").values()
    assert (match["model"], match["driver"], match["power_limit_w"]) == (
        "GPU model 0",
        "580.1",
        700,
    )
    assert match["clocks"] == "default, at most 1980 MHz"
    assert match["cores"] is None
    assert (know["gpu_uuid"], know["gpu_memory_mib"], know["gpu_pci"]) == (
        "GPU-aaaa-1",
        80 * 1024,
        "0000:00",
    )
    assert describe("cuda:1")["match"]["clocks"] == "application clock 1400 MHz"


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("visible", "model"),
    [
        ("1", "GPU model 1"),
        ("1,0", "GPU model 1"),
        ("GPU-bbbb-2", "GPU model 1"),
        ("GPU-bb", "GPU model 1"),
        ("", None),
        ("-1", None),
        ("7", None),
    ],
)
def test_the_gpu_is_the_one_that_this_process_may_see(
    visible: str, model: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA_VISIBLE_DEVICES names it, by number, by UUID or by the beginning of one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert describe("cuda")["match"]["model"] == model


@pytest.mark.usefixtures("gpus")
def test_used_memory_is_the_card_s() -> None:
    """All processes together, in bytes."""
    assert nvml.memory_used_bytes(1) == 4 * 2**20


@pytest.mark.usefixtures("forgotten")
def test_without_a_driver_there_is_no_answer_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same call serves a machine without any GPU."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert describe("cuda")["match"]["model"] is None
    assert nvml.memory_used_bytes() is None


def test_git_state_tells_commit_and_changes(tmp_path: Path) -> None:
    """A commit and no changes, then changes; outside a checkout nothing is known."""
    assert git_state(tmp_path) == {"git_commit": None, "git_dirty": None}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    (tmp_path / "file").write_text("1")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True)
    clean = git_state(tmp_path)
    assert len(clean["git_commit"]) == 40
    assert clean["git_dirty"] is False
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path)["git_dirty"] is True


def test_the_user_s_own_checkout_is_known_beside_the_project_s(tmp_path: Path) -> None:
    """Where the sweep's files are in one; of the project's own nothing more is said."""
    assert code_state(str(tmp_path)) == {}
    assert code_state(str(Path(__file__).parent)) == {}
    git = ["git", "-C", str(tmp_path / "mine"), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    (tmp_path / "mine").mkdir()
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True)
    found = code_state(str(tmp_path / "mine"))
    assert len(found["code_git_commit"]) == 40
    assert found["code_git_dirty"] is False


@pytest.mark.parametrize(
    ("know", "said"),
    [
        ({}, ""),
        ({"git_commit": None, "git_dirty": None}, ""),
        ({"git_commit": "b" * 40, "git_dirty": False}, "bbbb"),
        ({"git_commit": "b" * 40, "git_dirty": True}, "bbbb+"),
        ({"git_commit": "b" * 40, "git_dirty": True, "code_git_commit": "a" * 40}, "aaaa"),
        ({"git_commit": "b" * 40, "code_git_commit": None, "code_git_dirty": True}, "bbbb"),
        ({"code_git_commit": "a" * 40, "code_git_dirty": True}, "aaaa+"),
    ],
)
def test_the_commit_is_the_user_s_own_and_says_whether_files_were_changed(
    know: dict[str, Any], said: str
) -> None:
    """The harness's only where the user's code is in no checkout; each with its own mark."""
    assert commit_of(know, digits=4) == said


def test_asking_imports_no_torch() -> None:
    """A supervisor describes its slot and never touches CUDA."""
    code = (
        "import sys; from orchestrator.machine.environment import describe; d = describe('cuda');"
        "assert 'torch' not in sys.modules; assert d['match']['torch']"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
