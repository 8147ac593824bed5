"""`profile` says which kernels rows of a finished sweep run, and keeps a trace of each."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import time
from pathlib import Path

import pytest

from orchestrator.cli.profiling import counters
from orchestrator.cli.profiling import sweep as profile
from orchestrator.errors import RequestError
from orchestrator.isolation import proc
from orchestrator.outcome import Outcome, Phase
from orchestrator.plan.sweep import Sweep
from orchestrator.record import KernelShare
from orchestrator.results import profiles, sweep_directory
from orchestrator.results.journal import Journal
from orchestrator.results.results import Results
from orchestrator.trial import Resources, Trial
from tests.support import made
from tests.support.sweeps import TOYS

SWEEP = """\
name: toy
workload: ./matmul.py:WORKLOAD
implementations: [./matmul.py:right, "./matmul.py:raises"]
axes: {n: [16, 32]}
"""

# As Nsight Compute writes it; times in nanoseconds.
NCU = """\
==PROF== Connected to process 1
"ID","Process ID","Kernel Name","gpu__time_duration.sum","dram__bytes.sum.per_second",\
"dram__throughput.avg.pct_of_peak_sustained_elapsed",\
"sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active",\
"sm__warps_active.avg.pct_of_peak_sustained_active"
"","","","ns","byte/s","%","%","%"
"0","1","void cutlass::gemm<float>(Params)","3000","2,000,000,000,000","60","80","n/a"
"1","1","void cutlass::gemm<float>(Params)","1000","1,000,000,000,000","20","40","n/a"
"2","1","fill(float *, int)","500","5e11","10","0","50"
"""


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A sweep that was run: two rows are ok, two are not."""
    shutil.copy(TOYS / "matmul.py", tmp_path / "matmul.py")
    (tmp_path / "toy.yaml").write_text(SWEEP)
    sweep = Sweep.load(tmp_path / "toy.yaml")
    directory = tmp_path / "results"
    meta = made.results(sweep.trials, []).meta.model_copy(
        update={"spec": sweep.spec, "base_dir": str(tmp_path), "device": "cpu"}
    )
    sweep_directory.create(directory, meta, SWEEP)
    with Journal(directory) as journal:
        for trial in sweep.trials:
            right = trial.implementation == "matmul:right"
            metrics = {"latency_ms": 1.0} if right else None
            outcome = Outcome.OK if right else Outcome.FAILED
            journal.append(made.record(trial, outcome, phase=Phase.DONE, metrics=metrics))
    return sweep_directory.load(directory)


@pytest.mark.slow
def test_a_row_is_profiled_later_and_its_sweep_has_the_kernels(results: Results) -> None:
    """In every report, with a trace that is a Chrome trace; the journal stays as it was."""
    directory = results.directory
    assert directory is not None
    before = (directory / "results.jsonl").read_bytes()
    said: list[str] = []
    (found,) = profile.profile(results, "n == 16", said.append)
    assert found.kernels[0].name.startswith("aten::")
    assert found.kernels[0].name in said[0]
    assert (directory / "results.jsonl").read_bytes() == before
    with gzip.open(directory / found.trace, "rt") as file:
        assert json.load(file)["traceEvents"]
    rows = {row.trial_id: row for row in sweep_directory.load(directory).rows}
    assert rows[found.trial_id].kernels == found.kernels
    assert [path.name for path in profiles.traces(directory)] == [f"{found.trial_id}.json.gz"]


def test_only_rows_that_are_ok_are_profiled(results: Results) -> None:
    """One that is not is no row to be made faster."""
    assert len(profile.select(results, profile.expanded(results, None))) == 2
    raising = profile.expanded(results, "implementation == 'matmul:raises'")
    with pytest.raises(RequestError, match="none of the 2 selected rows is ok"):
        profile.select(results, raising)


def test_rows_over_ranks_and_imported_sweeps_are_refused_by_name(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks of any row count, not those of the first alone; an import's code lies elsewhere."""
    planned = profile.expanded(results, None)

    def ranks_of_the_last(self: Sweep, trial: Trial, device: str) -> Resources:
        return Resources(ranks=4 if trial.params["n"] == 32 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(Sweep, "resources", ranks_of_the_last)
        with pytest.raises(RequestError, match="have 4 ranks"):
            profile.select(results, planned)
    assert results.directory is not None
    (results.directory / sweep_directory.IMPORTED_FILE).write_text("{}")
    with pytest.raises(RequestError, match="imported: profile it where it was run"):
        profile.expanded(results, None)


@pytest.mark.slow
def test_a_row_that_hangs_is_ended_and_what_was_known_of_it_stays(results: Results) -> None:
    """With the processes that it started; the earlier kernels and trace still count."""
    directory = results.directory
    assert directory is not None
    planned = profile.expanded(results, "n == 16")
    (trial,) = profile.select(results, planned)
    earlier = profiles.Profile(
        trial_id=trial.trial_id,
        kernels=(KernelShare(name="earlier", count=1, share=1.0),),
        trace=profiles.trace_of(trial.trial_id),
    )
    profiles.append(directory, earlier)
    trace = directory / earlier.trace
    trace.parent.mkdir()
    trace.write_bytes(b"earlier")
    pid_file = directory / "pid"
    source = Path(results.meta.base_dir) / "matmul.py"
    source.write_text(
        f"{source.read_text()}\n\ndef right(config):\n"
        "    import subprocess, time\n"
        "    started = subprocess.Popen(['sleep', '1000'])\n"
        f"    open({str(pid_file)!r}, 'w').write(str(started.pid))\n"
        "    time.sleep(1000)\n"
    )
    spec = results.meta.spec
    brief = spec.resources.model_copy(update={"timeout_s": 2.0})
    spec = spec.model_copy(update={"resources": brief})
    hanging = dataclasses.replace(results, meta=results.meta.model_copy(update={"spec": spec}))
    said: list[str] = []
    (found,) = profile.profile(hanging, "n == 16", said.append)
    assert found.error.startswith("timeout"), found
    assert "not profiled: timeout" in said[0]
    assert found.at
    assert profiles.read(directory)[trial.trial_id] == earlier
    assert trace.read_bytes() == b"earlier"
    assert not list(trace.parent.glob(".*"))
    # where the machine is so slow that it had started nothing, there is nothing to be left
    if pid_file.is_file() and (pid := pid_file.read_text()):
        while proc.is_alive(int(pid)):  # the kernel ends it a moment after it was told to
            time.sleep(0.01)


def test_the_counters_of_a_kernel_are_averaged_by_time() -> None:
    """As Nsight Compute prints them: thousands with commas, a line of units, n/a for none."""
    found = counters.read(NCU)
    gemm = found["void cutlass::gemm<float>(Params)"]
    assert gemm == pytest.approx({"dram_gb_per_s": 1750.0, "dram_share": 0.5, "tensor_share": 0.7})
    assert found["fill(float *, int)"]["occupancy"] == 0.5
    kernels = [KernelShare(name="void cutlass::gemm<float>(cutlass::Params)", count=2, share=1.0)]
    (one,) = counters.with_counters(kernels, found)
    assert one.counters == gemm


def test_the_command_asks_for_the_counters_of_the_range_alone() -> None:
    """What surrounds the call, verification above all, is not replayed."""
    line = counters.command("ncu", "out.csv", "profiled", ["python", "x.py"])
    assert line[:4] == ["ncu", "--nvtx", "--nvtx-include", "profiled/"]
    assert line[-2:] == ["python", "x.py"]
    assert counters.read("==ERROR== ERR_NVGPUCTRPERM") == {}


def test_profiles_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    """A torn last line costs that profile alone; of one trial the latest counts."""
    first = profiles.Profile(trial_id="a", notes=("first",))
    profiles.append(tmp_path, first)
    profiles.append(tmp_path, first.model_copy(update={"notes": ("second",)}))
    with (tmp_path / profiles.FILE_NAME).open("a") as file:
        file.write('{"trial_id": "b", "ker')
    assert profiles.read(tmp_path)["a"].notes == ("second",)
    assert "b" not in profiles.read(tmp_path)
    profiles.append(tmp_path, profiles.Profile(trial_id="c"))
    assert "c" in profiles.read(tmp_path)
