"""proposals.jsonl: what was proposed, kept before it is run, read back after whatever happened."""

from __future__ import annotations

import random
from pathlib import Path

from orchestrator.results import proposals, sweep_directory
from orchestrator.results.meta import SweepMeta
from orchestrator.results.proposals import Proposal
from orchestrator.trial import Trial
from tests.support.sweeps import sweep

SEARCH = "{strategy: random, samples: 5}"
AXES = "{batch: [1, 2], seq_len: [64], heads: [4], options.block: [16, 32, 64]}"


def trial(block: int = 16, batch: int = 1, seq_len: int = 64, name: str = "standard") -> Trial:
    return Trial.of(implementation=name, use=name, params={"batch": batch, "seq_len": seq_len, "heads": 4},
                    options={"block": block})  # fmt: skip


def test_what_was_proposed_is_read_back(tmp_path: Path) -> None:
    """In its order, appended by one driver after another."""
    made = [
        Proposal(trial=trial(block), cell="c", after=at, coordinates={"x": 1})
        for at, block in enumerate((16, 32))
    ]
    assert proposals.read(tmp_path) == []
    for each in made:
        proposals.append(tmp_path, [each])
    assert proposals.read(tmp_path) == made


def test_a_torn_line_is_left_out_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    """The driver died while it wrote: that trial was not run."""
    first, second = Proposal(trial=trial(16)), Proposal(trial=trial(32))
    proposals.append(tmp_path, [first, second])
    path = tmp_path / proposals.FILE_NAME
    path.write_bytes(path.read_bytes()[:-20])
    assert proposals.read(tmp_path) == [first]
    proposals.append(tmp_path, [second])
    assert proposals.read(tmp_path) == [first, second]


def test_the_table_is_by_implementation_and_axes_and_within_a_search_as_proposed() -> None:
    """Whatever the order in which several slots were served."""
    spec = sweep(axes=AXES, search=SEARCH).spec
    made = [
        trial(block, batch, name=name)
        for name in ("standard", "improved")
        for batch in (1, 2)
        for block in (64, 16)
    ]
    mixed = random.Random(0).sample([trial.trial_id for trial in made], len(made))
    found = proposals.arranged(spec, sorted(made, key=lambda each: mixed.index(each.trial_id)))
    cells = [(each.implementation, each.params["batch"]) for each in found]
    assert cells == [(name, batch) for name in ("standard", "improved") for batch in (1, 1, 2, 2)]
    assert proposals.arranged(spec, [*made, *made]) == tuple(made)


def test_the_rows_of_a_frontier_go_up_its_axis() -> None:
    """Though they were probed up and down."""
    axes = "{seq_len: [64, 128, 256], batch: [1], heads: [4], options.block: [16]}"
    spec = sweep(axes=axes, frontier="{axis: seq_len}").spec
    found = proposals.arranged(spec, [trial(seq_len=size) for size in (64, 256, 128)])
    assert [each.params["seq_len"] for each in found] == [64, 128, 256]


def test_what_still_counts_is_what_the_last_such_line_says_and_what_came_after(
    tmp_path: Path,
) -> None:
    """A file that was changed, and changed back: every proposal is remembered."""
    first, second, third = (Proposal(trial=trial(block), cell="c") for block in (16, 32, 64))
    proposals.append(tmp_path, [first, second])
    proposals.keep(tmp_path, [first, second])
    assert len((tmp_path / proposals.FILE_NAME).read_text().splitlines()) == 2
    proposals.keep(tmp_path, [second])
    proposals.append(tmp_path, [third])
    assert proposals.current(tmp_path) == [second, third]
    assert proposals.read(tmp_path) == [first, second, third]
    proposals.keep(tmp_path, [first, second])
    assert proposals.current(tmp_path) == [first, second]


def test_a_directory_knows_what_was_proposed(tmp_path: Path) -> None:
    """Its planned trials are the proposals; one without a record is a row that was not run."""
    spec = sweep(axes=AXES, search=SEARCH).spec
    meta = SweepMeta(
        sweep_id="20261122_093000_a1b2", name="tiny", created_at="2026-11-22T09:30:00+00:00", base_dir=".",
        device="cpu", spec=spec, planned=(), at_most=20,
    )  # fmt: skip
    sweep_directory.create(tmp_path / "sweep", meta, "")
    proposals.append(tmp_path / "sweep", [Proposal(trial=trial())])
    (row,) = sweep_directory.load(tmp_path / "sweep").rows
    assert (row.trial_id, row.outcome) == (trial().trial_id, None)
