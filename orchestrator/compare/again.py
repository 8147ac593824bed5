"""`compare --again`, round by round: both sides measured now, each in its own checkout.

Two sweeps met two states of a machine. Here each round runs one side's sweep in its own checkout
and then the other's, so that whatever changes more slowly than a round falls on both alike; the
ratio is taken within rounds. A side is run by its own checkout's code and interpreter, whatever
version that is: all that is asked of it is `run --output --resume`. Where one process can hold both
sides, `one_process` measures them in shorter turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.compare.comparison import (
    MACHINE_DIFFERED,
    Comparison,
    Pair,
    both_ok,
    compare,
    corrected,
    timed_pair,
)
from orchestrator.compare.threshold import Threshold
from orchestrator.errors import RequestError
from orchestrator.results import lookup, sweep_directory
from orchestrator.results.results import Results
from orchestrator.results.rows import Row
from orchestrator.stats.ratio import ratio_by_rounds

# After so many rounds the verdicts are judged; it ends where no row with times is unclear.
LOOKS = (5, 8, 12)
# Of equal sweeps one in a hundred has a row that seems to differ. Each look has an equal share of
# that: every further one is a further chance to be wrong (Bonferroni).
SIGNIFICANT = 0.01
SWEEP_FILES = (".yaml", ".yml")
ROOT_MARKS = (".git", "pyproject.toml")
COPY = "sweep.yaml"  # of the sweep file, in a sweep's directory

Run = Callable[[Sequence[str], Path], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Side:
    """What is measured for one side, and where.

    Attributes:
        file: the sweep file.
        root: of its checkout: the current directory of its runs.
    """

    file: Path
    root: Path

    @classmethod
    def of(cls, given: str) -> Side:
        """From a sweep file, or from a sweep that was run.

        Raises:
            RequestError: a sweep whose sweep file is not there any more, or has changed since.
            SweepNotFoundError: neither a file nor a sweep.
        """
        path = Path(given)
        if path.suffix in SWEEP_FILES and path.is_file():
            return cls(path.resolve(), _root(path.resolve()))
        file = _file_of(lookup.find(given))
        return cls(file, _root(file))

    @property
    def python(self) -> str:
        """The interpreter that runs it: its checkout's own, if it has one."""
        own = self.root / ".venv" / "bin" / "python"
        return str(own) if own.exists() else sys.executable

    def command(self, rounds: int, output: Path, arguments: Sequence[str]) -> list[str]:
        """The command line that brings the sweep in `output` to so many rounds."""
        command = [self.python, "-m", "orchestrator", "run", str(self.file), "--quiet"]
        command += [*arguments, "-S", f"measure.repeats={rounds}", "--output", str(output)]
        # A disturbed row is met by another round, which tells more than a repetition within one.
        command += ["-S", "measure.remeasure=0"]
        if rounds > 1:
            command.append("--resume")
        return command


def measure(
    base: Side,
    candidate: Side,
    looks: Sequence[int],
    directory: Path,
    arguments: Sequence[str] = (),
    *,
    force: bool = False,
    fail_slower: float | None = None,
    run: Run | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Comparison:
    """Measure both sides round by round, until no row is unclear or the last look is reached.

    The side that goes first alternates.

    Args:
        base: what was.
        candidate: what is.
        looks: after how many rounds the verdicts are looked at, rising; at least two rounds.
        directory: gets a folder for each side.
        arguments: of `run`, for both sides.
        force: see `compare`.
        fail_slower: see `compare`.
        run: (command, current directory) -> how it ended; for tests.
        tell: gets a line after every look but the last.

    Raises:
        RequestError: a side cannot be measured; with what it said.
        ComparisonError: as by `compare`.
    """
    run = run or _run
    sides = {"base": base, "candidate": candidate}
    for number in range(1, looks[-1] + 1):
        order = ("base", "candidate") if number % 2 else ("candidate", "base")
        for name in order:
            side = sides[name]
            ended = run(side.command(number, directory / name, arguments), side.root)
            if ended.returncode not in (0, 1):  # 1: rows that are not ok
                said = (ended.stderr or ended.stdout).strip()
                raise RequestError(f"round {number} of the {name} in {side.root} failed: {said}")
        if number not in looks:
            continue
        was, now = (sweep_directory.load(directory / name) for name in sides)
        found = judge(was, now, looks=len(looks), force=force, fail_slower=fail_slower)
        if not found.open_rows or number == looks[-1]:
            return found
        tell(going_on(found.open_rows, len(found.rows), number, looks))
    raise AssertionError("the last look returns")


def going_on(unclear: int, rows: int, rounds: int, looks: Sequence[int]) -> str:
    """What there is to say after a look that is not the last."""
    after = looks[looks.index(rounds) + 1]
    return f"{unclear} of {rows} rows unclear after {rounds} rounds: going on to {after}"


def judge(
    base: Results,
    candidate: Results,
    *,
    looks: int = 1,
    force: bool = False,
    fail_slower: float | None = None,
) -> Comparison:
    """The verdicts on two sweeps that were measured in turns, corrected for `looks` looks.

    The other arguments are those of `compare`.

    Raises:
        ComparisonError: as by `compare`.
    """
    found = compare(base, candidate, force=force, fail_slower=fail_slower)
    pairs = [_in_rounds(pair, base.meta.device, fail_slower) for pair in found.rows]
    return replace(found, rows=corrected(pairs, SIGNIFICANT / looks), machine=None, again=True)


def _in_rounds(pair: Pair, device: str, fail_slower: float | None) -> Pair:
    """The pair by the ratios within rounds; as it was where fewer than two rounds have both."""
    if not both_ok(pair.base, pair.candidate):
        return pair
    base, candidate = _by_round(pair.base), _by_round(pair.candidate)
    both = sorted(base.keys() & candidate.keys())
    if len(both) < 2:
        return replace(pair, machine=(1.0, 1.0))
    first = [base[number] for number in both]
    second = [candidate[number] for number in both]
    ratio, spread = ratio_by_rounds(first, second)
    threshold = Threshold.in_turns(spread, len(both), device, fail_slower)
    judged = timed_pair(pair.base, pair.candidate, ratio, threshold, measured=True)
    notes = [part for part in pair.note.split("; ") if part and part != MACHINE_DIFFERED]
    return replace(judged, note="; ".join(notes))


def _by_round(row: Row) -> dict[int, Sequence[float]]:
    """Number of a round -> its repetitions."""
    numbers = [record.round for record in row.records]
    return dict(zip(numbers, row.rounds, strict=True))


def _file_of(directory: Path) -> Path:
    """The sweep file that a sweep was run from, found in its folder by what it says."""
    results = sweep_directory.load(directory)
    text = (directory / COPY).read_bytes()
    folder = Path(results.meta.base_dir)
    for path in sorted(folder.glob("*.y*ml")):
        if path.read_bytes() == text:
            return path
    raise RequestError(
        f"{directory}: the sweep file it was run from is not in {folder} any more, or has changed "
        "since: give the two sweep files, compare BASE.yaml CANDIDATE.yaml --again"
    )


def _root(file: Path) -> Path:
    """The nearest folder above a file that looks like a checkout's; its own folder if none does."""
    for folder in file.parents:
        for mark in ROOT_MARKS:
            if (folder / mark).exists():
                return folder
    return file.parent


def _run(command: Sequence[str], root: Path) -> subprocess.CompletedProcess[str]:
    """Run a side's command where its own packages come first."""
    paths = str(root)
    if os.environ.get("PYTHONPATH"):
        paths += os.pathsep + os.environ["PYTHONPATH"]
    env = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
