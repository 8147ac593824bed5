"""`doctor` says whether this machine is fit to measure, and why not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.doctor import checkup, gpu, host, services
from orchestrator.doctor.finding import Finding

GIB = 2**30
FINE = Finding("cpu", "ok", "2 cores")
LOUD = Finding("cpu load", "warn", "1 of 2 cores in use", "end them")
FULL = Finding("disk mlruns", "bad", "0.0 GiB free", "make room")


class FakeNvml:
    """An NVML of one GPU, in order unless told otherwise; what it is not told of, it does not know."""

    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, **answers: Any) -> None:
        usual = {
            "nvmlDeviceGetCount": 1,
            "nvmlSystemGetDriverVersion": "580.95.05",
            "nvmlDeviceGetHandleByIndex": object(),
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * GIB, used=GIB // 2),
            "nvmlDeviceGetPersistenceMode": 1,
            "nvmlDeviceGetMigMode": [0, 0],
            "nvmlDeviceGetCurrentClocksEventReasons": 1,
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlDeviceGetTemperature": 31,
            "nvmlDeviceGetComputeRunningProcesses": [],
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=0, memory=0),
        }
        self._answers = {**usual, **answers}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("nvmlClocksEventReason"):
            return 0x40 if name.endswith("HwThermalSlowdown") else 0

        def answer(*_: Any) -> Any:
            if name not in self._answers:
                raise OSError("NVML_ERROR_NOT_SUPPORTED")
            return self._answers[name]

        return answer


@pytest.fixture(autouse=True)
def every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have chosen some."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def states(**answers: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in gpu.gpus(FakeNvml(**answers))}


def test_a_gpu_in_order_has_nothing_against_it() -> None:
    """Name, memory and driver are told; nothing is advised that matters."""
    found = states()
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["gpu 0"].message == "NVIDIA H100 80GB HBM3, 80 GiB"
    assert found["driver"].message == "NVIDIA 580.95.05"


def test_no_gpu_is_no_fault() -> None:
    """Sweeps run on the CPU."""
    assert [finding.state for finding in gpu.gpus(None)] == ["ok"]


def test_persistence_off_costs_every_trial() -> None:
    """A doubt, with the command that ends it."""
    found = states(nvmlDeviceGetPersistenceMode=0)["gpu 0 persistence"]
    assert (found.state, found.advice) == ("warn", "nvidia-smi -pm 1")


def test_a_gpu_that_is_held_down_is_not_fit() -> None:
    """Thermal slowdown before anything runs."""
    found = states(nvmlDeviceGetCurrentClocksEventReasons=0x40)["gpu 0 clocks"]
    assert (found.state, found.message) == ("bad", "held down: it is too hot")


def test_a_busy_stranger_on_the_gpu_makes_it_unfit_and_is_named() -> None:
    """An idle one that holds memory is a doubt."""
    own = SimpleNamespace(pid=os.getpid())
    busy = states(
        nvmlDeviceGetComputeRunningProcesses=[own],
        nvmlDeviceGetUtilizationRates=SimpleNamespace(gpu=97, memory=40),
    )["gpu 0 alone"]
    idle = states(nvmlDeviceGetComputeRunningProcesses=[own])["gpu 0 alone"]
    assert (busy.state, idle.state) == ("bad", "warn")
    assert f"(pid {own.pid})" in busy.message
    assert "97 % in use" in busy.message


def test_use_by_processes_that_a_container_hides_is_seen_all_the_same() -> None:
    """NVML lists no process of another namespace."""
    found = states(nvmlDeviceGetMemoryInfo=SimpleNamespace(total=80 * GIB, used=30 * GIB))[
        "gpu 0 alone"
    ]
    assert (found.state, "cannot be seen" in found.message) == ("warn", True)


def test_a_gpu_that_the_driver_lost_is_bad() -> None:
    """It fell off the bus."""
    assert states(nvmlDeviceGetHandleByIndex=None)["gpu 0"].state == "bad"


def test_chosen_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES is easily forgotten."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "CUDA_VISIBLE_DEVICES='1'" in states()["gpu"].message


def answered(text: str, code: int = 0, error: str = "") -> Any:
    return lambda: subprocess.CompletedProcess([], code, stdout=text, stderr=error)


def test_torch_that_computes_on_the_gpu_is_fine() -> None:
    """With its version and CUDA's."""
    found = gpu.torch_uses_gpu(
        FakeNvml(), answered('{"count": 1, "torch": "2.11.0+cu130", "cuda": "13.0"}\n')
    )
    assert (found.state, found.message) == (
        "ok",
        "torch 2.11.0+cu130, CUDA 13.0, right on 1 of its GPUs",
    )


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (answered('{"count": 0, "torch": "2.13.0+cpu", "cuda": null}'), "sees no GPU"),
        (
            answered("", 1, "Traceback ...\nRuntimeError: no kernel image is available"),
            "no kernel image is available",
        ),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_bad(probe: Any, message: str) -> None:
    """Sweeps would end with exit 3: never a silent CPU."""
    found = gpu.torch_uses_gpu(FakeNvml(), probe)
    assert found.state == "bad"
    assert message in found.message
    assert "install" in found.advice


def test_a_gpu_that_hangs_is_found_out() -> None:
    """The probe is a process with a limit."""

    def hang() -> Any:
        raise subprocess.TimeoutExpired("python", gpu.TORCH_S)

    assert gpu.torch_uses_gpu(FakeNvml(), hang).state == "bad"


@pytest.mark.parametrize(("used", "state"), [(0.1, "ok"), (0.8, "warn"), (1.9, "bad")])
def test_cores_in_use_by_others_are_weighed(used: float, state: str) -> None:
    """A quarter of the machine is a doubt, three quarters are a fault."""
    assert host.load(used, [host.Busy("python", 80.0)], cores=2).state == state


@pytest.mark.slow
def test_whoever_keeps_the_cores_busy_is_named() -> None:
    """A real process that spins."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        used, busiest = host.busiest(0.5)
    finally:
        spinning.kill()
        spinning.wait()
    assert used > 0.2
    assert any(
        busy.name.startswith("python") and f"(pid {busy.pid})" in str(busy) for busy in busiest
    )


def test_clocks_that_follow_the_load_are_a_doubt() -> None:
    """Where the kernel governs them at all."""
    assert host.governor("powersave").state == "warn"
    assert host.governor("performance").state == host.governor(None).state == "ok"


@pytest.mark.parametrize(("limit", "state"), [(None, "ok"), (1.5, "warn"), (4.0, "ok")])
def test_a_containers_share_of_the_cores_is_told(limit: float | None, state: str) -> None:
    """Trials stall when the quota is used up."""
    assert host.quota(limit, cores=4).state == state


def test_a_temporary_folder_too_deep_for_sockets_is_told_with_its_limit() -> None:
    """A batch system's often is."""
    assert host.temporary(Path("/tmp"), 43).state == "ok"
    found = host.temporary(Path("/tmp/slurm.1234567.step.batch/user"), 43)
    assert (found.state, found.advice) == (
        "warn",
        "set TMPDIR to a folder of at most 28 characters",
    )


def test_another_system_than_linux_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a sweep would start there."""
    assert host.system().state == "ok"
    monkeypatch.setattr(host.platform, "system", lambda: "Darwin")
    assert host.system().state == "bad"


def test_a_disk_without_room_is_bad(tmp_path: Path) -> None:
    """The folder need not exist yet."""
    assert host.disk(tmp_path / "not" / "yet", needed_gib=1e9).state == "bad"
    assert host.disk(tmp_path / "not" / "yet", needed_gib=1e-9).state == "ok"


class Healthy(BaseHTTPRequestHandler):
    """A server that answers its /health."""

    def do_GET(self) -> None:
        """200 for /health, 404 for the rest."""
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.mark.slow
def test_a_tracking_server_is_asked() -> None:
    """It answers, or it does not, and the sweep can do without."""
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert services.tracking(address).state == "ok"
        server.shutdown()
    down = services.tracking(address.replace("//", "//me:secret@"))
    assert (down.state, "secret" in down.message) == ("warn", False)


def test_a_server_that_never_answers_costs_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts and says nothing."""
    monkeypatch.setattr(services, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        found = services.tracking(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert (found.state, time.monotonic() - begun < 2) == ("warn", True)


def test_a_store_is_a_file_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default is under mlruns/ of the current directory."""
    monkeypatch.chdir(tmp_path)
    assert services.tracking(None) == Finding(
        "tracking", "ok", f"{tmp_path}/mlruns/mlflow.db, made by the first sweep"
    )


def test_a_ray_cluster_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """By address, by RAY_ADDRESS, or our own; one that accepts connections is asked for its nodes."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services.cluster, "nodes", lambda _address: [FINE])
    (own,) = services.ray(None)
    assert own.message.endswith("started by the run itself")
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        address = f"127.0.0.1:{cluster.getsockname()[1]}"
        for form in (address, f"ray://{address}"):
            assert [finding.state for finding in services.ray(form)] == ["ok", "ok"]
    monkeypatch.setenv("RAY_ADDRESS", address)
    (gone,) = services.ray(None)
    assert (gone.state, address in gone.message) == ("bad", True)


def test_the_verdict_names_what_is_wrong() -> None:
    """Bad is exit 3, doubts are not."""
    assert (checkup.exit_code([FINE, LOUD]), checkup.exit_code([FINE, LOUD, FULL])) == (0, 3)
    assert checkup.as_text([FINE, LOUD, FULL]).endswith("Not fit to measure: disk mlruns")
    assert checkup.as_text([FINE, LOUD]).endswith("Fit to measure, with doubts: cpu load")
    assert checkup.as_text([FINE]).endswith("Fit to measure")


def test_the_findings_are_json() -> None:
    """For a job that decides whether to start."""
    found = json.loads(json.dumps(checkup.as_object([FINE, FULL])))
    assert found["fit"] is False
    assert found["findings"][1] == {
        "check": "disk mlruns",
        "state": "bad",
        "message": "0.0 GiB free",
        "advice": "make room",
    }


def test_a_check_that_fails_is_a_finding() -> None:
    """One broken sensor must not hide the rest."""

    def broken() -> Finding:
        raise RuntimeError("no sensor")

    assert checkup._carried_out(("gpu", broken)) == [
        Finding("gpu", "warn", "could not be looked at: RuntimeError: no sensor")
    ]


@pytest.mark.slow
def test_this_machine_is_examined_without_heavy_imports() -> None:
    """In a fresh interpreter: every check answers, and torch, ray and mlflow stay out of this
    process.
    """
    code = (
        "import json, sys\n"
        "from orchestrator.doctor import checkup\n"
        "found = checkup.as_object(checkup.examine())\n"
        "heavy = {'torch', 'ray', 'mlflow'} & set(sys.modules)\n"
        "print(json.dumps([sorted(heavy), sorted({f['check'] for f in found['findings']})]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    heavy, checks = json.loads(done.stdout)
    assert heavy == []
    assert {"cpu", "cpu load", "gpu", "disk mlruns", "tracking", "ray", "torch"} <= set(checks)
