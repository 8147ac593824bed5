"""Whether a row is known from an earlier sweep; if not, what differs from the nearest that is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.errors import OrchestratorError
from orchestrator.history.identity import changes
from orchestrator.history.index import Entry, Environment, Index
from orchestrator.history.reading import record_at
from orchestrator.outcome import Outcome
from orchestrator.record import TrialRecord
from orchestrator.results import sources
from orchestrator.trial import Trial, content_hash
from orchestrator.usercode.imported import changed_since

NEAREST = 20  # rows of one trial that are compared to say what differs
MOST_NAMED = 3  # differences in a line

ROW = (
    "SELECT sweep, outcome, flags, source, environment, protocol, card, reused_from, reusable, "
    "finished, places FROM row "
)


@dataclass(frozen=True)
class Machine:
    """What a row may have been measured on to count as known.

    Attributes:
        match: the facts that must match.
        card: UUID of its GPU; empty: none, or not known.
    """

    match: Mapping[str, Any]
    card: str = ""


@dataclass(frozen=True)
class Wanted:
    """A row that is asked for.

    Attributes:
        source: hash of its source code.
        protocols: how each round is measured and judged; see `record.protocol_hash`.
    """

    trial: Trial
    source: str
    protocols: tuple[str, ...]


@dataclass(frozen=True)
class Hit:
    """A row that is known.

    Attributes:
        sweep_id: of the sweep that measured it.
        measured_at: ISO 8601.
        model, card: what it was measured on; empty: not known.
        directory: of the sweep that has the records.
        places: of the records in its journal, by round.
    """

    sweep_id: str
    measured_at: str
    model: str
    card: str
    directory: Path
    places: tuple[tuple[int, int], ...]
    environment: Mapping[str, Any] = field(default_factory=dict)

    def records(self, wanted: Wanted) -> list[TrialRecord] | None:
        """Its records as the journal has them; None: it has others by now."""
        # The index may be older than the journal: what it says of each record is checked.
        pairs = zip(self.places, wanted.protocols, strict=True)
        found = []
        for number, (place, protocol) in enumerate(pairs, start=1):
            try:
                record = record_at(self.directory, place)
            except (OrchestratorError, OSError):
                return None
            if (record.trial_id, record.round) != (wanted.trial.trial_id, number):
                return None
            if (record.fingerprint.source, record.fingerprint.protocol) != (
                wanted.source,
                protocol,
            ):
                return None
            if record.outcome is not Outcome.OK or record.flags:
                return None
            found.append(record)
        return found


@dataclass(frozen=True)
class Miss:
    """A row that is not known: in what it differs from the nearest that is."""

    why: str


class Known:
    """Looks rows up in an index.

    Args:
        index: of the results folder.
        machines: those that the rows may have been measured on.
        asked: see `identity.asked`.
        base_dir: the folder that relative paths of the sweep file start from.
        sources: source hash -> files and packages of what is asked for; see `results.sources`.
        besides: a sweep's directory that is not looked at: the one that asks.
    """

    def __init__(
        self,
        index: Index,
        machines: Sequence[Machine],
        asked: Mapping[str, Any],
        base_dir: str,
        sources: Mapping[str, Mapping[str, Any]],
        besides: Path | None = None,
    ) -> None:
        self._index = index
        self._machines = machines
        self._hashes = [content_hash(dict(machine.match)) for machine in machines]
        self._asked = dict(asked)
        self._base_dir = base_dir
        self._sources = sources
        self._words = index.words()
        self._numbers = {text: number for number, text in self._words.items()}
        self._sweeps = index.sweeps()
        if besides is not None and besides.exists():
            for number, entry in list(self._sweeps.items()):
                if _is_same(entry.directory, besides):
                    del self._sweeps[number]
        self._imported: dict[tuple[int, str], list[str]] = {}
        self._held: dict[int, dict[str, Any]] = {}

    def find(self, wanted: Wanted) -> Hit | None:
        """The newest row that is the same in all that counts; None: there is none."""
        trial = self._number_of(wanted.trial)
        source = self._numbers.get(wanted.source)
        protocol = self._numbers.get(wanted.protocols[0])
        # The order of an index of the table: nothing is sorted. A sweep's number would not do, as
        # one that is read again gets a new one.
        lines = self._index.each(
            f"{ROW} WHERE trial = ? AND source = ? AND protocol = ? AND reusable = 1 "
            "ORDER BY finished DESC, sweep DESC",
            (trial, source, protocol),
        )
        for line in lines:
            candidate = self._candidate(line)
            if candidate is not None and not self._differences(candidate, wanted):
                return self._hit(candidate, wanted)
        return None

    def why_not(self, wanted: Wanted) -> Miss:
        """What differs between a row that `find` does not find and the nearest that there is."""
        trial = self._number_of(wanted.trial)
        lines = self._index.select(
            f"{ROW} WHERE trial = ? ORDER BY sweep DESC LIMIT ?", (trial, NEAREST)
        )
        fewest: list[str] = []
        sweep_id = ""
        for line in lines:
            candidate = self._candidate(line)
            if candidate is None:
                continue
            found = self._differences(candidate, wanted)
            if found and (not fewest or len(found) < len(fewest)):
                fewest, sweep_id = found, candidate.entry.sweep_id
        if not fewest:
            return Miss(self._never(wanted.trial))
        return Miss(f"{_brief(fewest)} ({sweep_id})")

    def _candidate(self, line: Sequence[Any]) -> _Candidate | None:
        entry = self._sweeps.get(line[0])
        if entry is None:
            return None
        texts = [self._words.get(number, "") for number in line[1:8]]
        outcome, flags, source, environment, protocol, card, reused_from = texts
        places = tuple((int(offset), int(length)) for offset, length in json.loads(line[10]))
        return _Candidate(
            entry, outcome, flags, source, environment, protocol, card, reused_from,
            bool(line[8]), line[9], places,
        )  # fmt: skip

    def _differences(self, found: _Candidate, wanted: Wanted) -> list[str]:
        """`field: old, now new` for all that keeps a row from standing for the one wanted."""
        told = self._source_changes(found, wanted)
        told += changes(found.entry.asked, self._asked)
        told += self._machine_changes(found)
        _, know = self._environment(found)
        version = know.get("orchestrator", __version__)  # the first versions did not record it
        if version != __version__:
            told.append(f"orchestrator: {version}, now {__version__}")
        # What follows says why a row that is the same so far still may not stand for another.
        if found.outcome != Outcome.OK:
            told.append(f"outcome: {found.outcome}, now to be ok")
        elif found.flags:
            told.append(f"flags: {found.flags}, now to be none")
        elif len(found.places) < len(wanted.protocols):
            told.append(f"measure.repeats: {len(found.places)}, now {len(wanted.protocols)}")
        elif found.entry.imported:
            told.append("machine: measured elsewhere and imported, now to be measured here")
        elif not told and found.protocol != wanted.protocols[0]:
            told.append("protocol: of another version of the orchestrator, now of this one")
        elif not told and not found.reusable:
            told.append("rounds: unlike or in turns with another, now alike and alone")
        return told

    def _source_changes(self, found: _Candidate, wanted: Wanted) -> list[str]:
        """What differs in the source code, or, where that is the same, in what it imported."""
        was = self._described(found.entry).get(found.source, {})
        if found.source != wanted.source:
            now = dict(self._sources.get(wanted.source, {}))
            texts = sources.differences(was, now) or [f"{found.source}, now {wanted.source}"]
        else:
            key = (found.entry.number, found.source)
            if key not in self._imported:
                imported = was.get("imported", {}) | {"base_dir": self._base_dir}
                self._imported[key] = changed_since(imported, self._base_dir)
            texts = self._imported[key]
        return [f"source: {text}" for text in texts]

    def _described(self, entry: Entry) -> dict[str, Any]:
        if entry.number not in self._held:
            self._held[entry.number] = sources.read(entry.directory)
        return self._held[entry.number]

    def _machine_changes(self, found: _Candidate) -> list[str]:
        """What the machine that is nearest to a row's differs in; nothing where one is the same."""
        cards = []  # of the machines that have the row's environment
        for machine, hash_ in zip(self._machines, self._hashes, strict=True):
            if hash_ == found.environment:
                cards.append(machine.card)
        if not cards:
            if not self._machines:
                return ["environment: of another machine"]
            was, _ = self._environment(found)
            of_each = [changes(was, machine.match) for machine in self._machines]
            return min(of_each, key=len) or ["environment: not known, now known"]
        if not found.card or "" in cards or found.card in cards:
            return []
        return [f"card: {found.card}, now {' or '.join(cards)}"]

    def _environment(self, found: _Candidate) -> Environment:
        return self._index.environment(found.entry.number, found.environment)

    def _hit(self, found: _Candidate, wanted: Wanted) -> Hit:
        match, know = self._environment(found)
        described = self._described(found.entry).get(found.source, {})
        facts = {"match": match, "know": know}
        if "imported" in described:
            facts["imported"] = described["imported"]
        return Hit(
            found.reused_from or found.entry.sweep_id,
            datetime.fromtimestamp(found.finished, UTC).isoformat(timespec="seconds"),
            str(match.get("model") or ""),
            found.card,
            found.entry.directory,
            found.places[: len(wanted.protocols)],
            facts,
        )

    def _never(self, trial: Trial) -> str:
        """In which param or option the nearest trial of the same implementation differs."""
        lines = self._index.select(
            "SELECT params, options FROM trial WHERE implementation = ?", (trial.implementation,)
        )
        if not lines:
            return f"implementation: no sweep here has {trial.implementation}"
        now = _point(trial.params, trial.options)
        of_each = []
        for params, options in lines:
            of_each.append(changes(_point(json.loads(params), json.loads(options)), now))
        nearest = min(of_each, key=len)
        if not nearest:
            return "use, call or compile: another, now as in the file"
        return _brief(nearest)

    def _number_of(self, trial: Trial) -> int | None:
        """The trial's number in the index; None: no sweep has it."""
        lines = self._index.select("SELECT number FROM trial WHERE trial_id = ?", (trial.trial_id,))
        return int(lines[0][0]) if lines else None


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # it has been removed meanwhile
        return False


@dataclass(frozen=True)
class _Candidate:
    entry: Entry
    outcome: str
    flags: str
    source: str
    environment: str
    protocol: str
    card: str
    reused_from: str
    reusable: bool
    finished: float
    places: tuple[tuple[int, int], ...]


def _point(params: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Params and options by the names that a sweep file has for them."""
    found = dict(params)
    for name, value in options.items():
        found[f"options.{name}"] = value
    return found


def _brief(differences: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    text = "; ".join(differences[:MOST_NAMED])
    if len(differences) > MOST_NAMED:
        text += f"; and {len(differences) - MOST_NAMED} more"
    return text
