"""Peak memory on the CPU: the growth of what is resident, over inputs and first call."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
import torch

from orchestrator.measure import memory
from orchestrator.measure.memory import MIB, NOTHING_KNOWN, HostPeak, cap, release

SLACK_MIB = 8.0  # the interpreter's own comings and goings


@pytest.fixture
def peak() -> HostPeak:
    """A peak that was started and marked, on a kernel that allows it."""
    found = HostPeak()
    found.start()
    found.mark()
    found.inputs_made()
    if found.figures()["peak_memory_mib"] is None:
        pytest.skip("/proc/self/clear_refs cannot be written here")
    return found


def written(mib: int) -> torch.Tensor:
    """A tensor of that size, every page of it touched."""
    return torch.ones(mib * MIB // 4, dtype=torch.float32)


def test_a_temporary_counts_after_it_is_gone(peak: HostPeak) -> None:
    """It is the peak that decides whether a trial fits, not what is left."""
    temporary = written(64)
    del temporary
    assert peak.figures()["peak_memory_mib"] == pytest.approx(64, abs=SLACK_MIB)


@pytest.mark.slow
def test_a_later_call_counts_where_it_takes_plainly_more(peak: HostPeak) -> None:
    """The time is that of later calls: so is their memory. A little more is the heap's own coming
    and going.
    """
    first = written(16)
    known = peak.figures()
    later = peak.with_later(known, lambda: written(96))
    assert later["workspace_mib"] == pytest.approx(96, abs=SLACK_MIB)
    assert later["peak_memory_mib"] == pytest.approx(96, abs=2 * SLACK_MIB)
    assert peak.with_later(known, lambda: written(8)) == known
    del first


@pytest.mark.slow
def test_memory_used_before_does_not_count(peak: HostPeak) -> None:
    """The mark is reset: what came and went before the inputs is not theirs."""
    gone = written(96)
    del gone
    peak.start()
    peak.mark()
    peak.inputs_made()
    kept = written(32)
    assert peak.figures()["peak_memory_mib"] == pytest.approx(32, abs=SLACK_MIB)
    del kept


@pytest.mark.slow
def test_what_was_built_counts_and_the_workspace_is_what_the_call_adds() -> None:
    """Parameters from build, inputs and the call make the peak; the workspace is the call's part
    alone.
    """
    peak = HostPeak()
    peak.start()
    parameters = written(24)
    peak.mark()
    inputs = written(16)
    peak.inputs_made()
    output = written(40)
    figures = peak.figures()
    if figures["peak_memory_mib"] is None:
        pytest.skip("/proc/self/clear_refs cannot be written here")
    assert figures["peak_memory_mib"] == pytest.approx(80, abs=SLACK_MIB)
    assert figures["workspace_mib"] == pytest.approx(40, abs=SLACK_MIB)
    del parameters, inputs, output


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A large file. Made before anything is marked: depending on malloc's mood its bytes are
    resident for a moment.
    """
    path = tmp_path / "library"
    path.write_bytes(bytes(48 * MIB))
    return path


@pytest.mark.slow
def test_pages_of_files_do_not_count(library: Path, peak: HostPeak) -> None:
    """A library's code is mapped in as it is first used; that is no memory of the implementation's."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert sum(view[:: mmap.PAGESIZE]) == 0
        assert peak.figures()["peak_memory_mib"] == pytest.approx(0, abs=SLACK_MIB)


@pytest.mark.slow
def test_a_mark_that_cannot_be_reset_makes_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A high-water mark of the time before would be a wrong number; none is better."""
    monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
    peak = HostPeak()
    peak.start()
    peak.mark()
    peak.inputs_made()
    assert peak.figures() == NOTHING_KNOWN


def test_figures_need_a_start_and_a_mark() -> None:
    """On a device whose allocator keeps count nobody starts this one, and it says nothing."""
    assert HostPeak().figures() == NOTHING_KNOWN


@pytest.mark.slow
def test_a_cap_means_nothing_to_the_cpu() -> None:
    """gpu_memory_gib is about cards; releasing works on both."""
    cap(torch.device("cpu"), 0.001)
    release(torch.device("cpu"))
    assert written(8).sum() == 8 * MIB // 4
