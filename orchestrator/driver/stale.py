"""Finished attempts that would not be the same today: whether source, environment or protocol
changed, in what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.machine.environment import differences
from orchestrator.plan.sources import sources
from orchestrator.plan.sweep import Sweep
from orchestrator.record import Fingerprint, TrialRecord
from orchestrator.results import sources as kept
from orchestrator.results.results import Results
from orchestrator.spec.models import SweepSpec
from orchestrator.trial import content_hash
from orchestrator.usercode.imported import ImportedCode, changed_since

MOST_NAMED = 10
PARTS = ("source", "environment", "protocol")


@dataclass(frozen=True)
class Stale:
    """A finished attempt whose fingerprint no longer holds.

    Attributes:
        changed: which of source, environment and protocol.
        point: the values of the sweep's axes, for a person.
    """

    record: TrialRecord
    changed: tuple[str, ...]
    point: str = field(default="", compare=False)

    def __str__(self) -> str:
        changed = " and ".join(self.changed)
        return (
            f"{self.record.implementation} {self.point or self.record.trial_id}: {changed} changed"
        )


def source_of_pair(first: str, second: str) -> str:
    """The source hash of an attempt that measures two implementations in turns."""
    return content_hash([first, second])


def changed_parts(was: Fingerprint, now: Fingerprint) -> tuple[str, ...]:
    """Which parts of a fingerprint differ."""
    return tuple(name for name in PARTS if getattr(was, name) != getattr(now, name))


@dataclass
class KnownSources:
    """What the source hashes of a sweep stand for.

    That is what is read before it runs, and what its trials turn out to import.

    Args:
        sweep: as it is stated now.
        held: source hash -> what it stood for in earlier runs.
    """

    sweep: Sweep
    held: dict[str, kept.Described] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now: dict[str, str] = {}
        self._described: dict[str, kept.Described] = {}
        by_label: dict[str, kept.Described] = {}
        for label, source in sources(self.sweep).items():
            by_label[label] = source.described(self.sweep.base_dir)
            self.now[label] = source.hash
            self._described[source.hash] = by_label[label]
        if self.sweep.duel is not None:
            first, second = self.sweep.duel
            both = source_of_pair(self.now[first], self.now[second])
            self._described[both] = kept.joined([by_label[first], by_label[second]])

    def all(self) -> dict[str, kept.Described]:
        """Source hash -> what it stands or stood for, to be written down."""
        found = dict(self.held)
        for name, described in self._described.items():
            found[name] = {**found.get(name, {}), **described}
        return found

    def learn(self, source: str, imported: ImportedCode) -> bool:
        """Record what a trial of this source imported; True if that was not known yet."""
        known = self.all().get(source, {})
        held: dict[str, Any] = known.get("imported", {})
        files, packages = held.get("files", {}), held.get("packages", {})
        merged: dict[str, Any] = {
            "base_dir": imported.base_dir,
            "files": {**files, **imported.files},
            "packages": {**packages, **imported.packages},
        }
        self.held[source] = {**known, "imported": merged}
        return merged != held

    def forget_outdated(self) -> None:
        """Drop the imports that are outdated: everything that rests on them is measured again."""
        for name in self.outdated():
            kept_parts = dict(self.held[name])
            kept_parts.pop("imported", None)
            self.held[name] = kept_parts

    def outdated(self) -> dict[str, list[str]]:
        """Source hash -> what its trials imported that has changed, though its files have not."""
        found = {}
        for name, described in self.held.items():
            changed = changed_since(described.get("imported", {}), self.sweep.base_dir)
            if changed:
                found[name] = changed
        return found


def explain(
    stale: Sequence[Stale], held: Results, now: KnownSources, slots: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What changed, each difference once, with its old and its new value as far as they are known.

    Args:
        stale: what no longer holds.
        held: the sweep as it was left.
        now: the sources as they are, and what those of `held` stand for.
        slots: what must match of the environments of the slots that there are now.
    """
    found: dict[str, None] = {}
    for attempt in stale:
        was = attempt.record.fingerprint
        if "source" in attempt.changed:
            today = now.all().get(now.now.get(attempt.record.implementation, ""))
            changes = kept.differences(now.held.get(was.source), today)
            if not changes:  # its own files are the same: something that it imports is not
                changes = now.outdated().get(was.source, [])
            found |= dict.fromkeys(changes)
        if "environment" in attempt.changed:
            environment = held.environments.get(was.environment, {}).get("match")
            if environment is not None:
                of_each_slot = [differences(environment, slot) for slot in slots]
                nearest = min(of_each_slot, key=len)
                found |= dict.fromkeys(nearest)
        if "protocol" in attempt.changed:
            found |= dict.fromkeys(_protocol_differences(held, now.sweep))
    return list(found)


def _protocol_differences(held: Results, sweep: Sweep) -> list[str]:
    """What differs between the protocols of the sweep as it was left, and as it is stated now."""
    device = held.meta.device
    return differences(_protocol_facts(held.meta.spec, device), _protocol_facts(sweep.spec, device))


def _protocol_facts(spec: SweepSpec, device: str) -> dict[str, Any]:
    facts = spec.measure.facts(device)
    for name, value in spec.verify.model_dump().items():
        facts[f"verify.{name}"] = value
    facts["seed"] = spec.seed
    return facts


def refuse_stale(stale: Sequence[Stale], go_on: str, why: Sequence[str] = ()) -> None:
    """Refuse to mix rows of before and after a change in one table.

    Args:
        stale: the finished attempts that no longer hold.
        go_on: the command that continues the sweep.
        why: what changed.

    Raises:
        RequestError: there are stale rows; they are named, and what changed.
    """
    if not stale:
        return
    rows = "row no longer holds" if len(stale) == 1 else "rows no longer hold"
    lines = [f"{len(stale)} finished {rows}:"]
    for attempt in stale[:MOST_NAMED]:
        lines.append(f"  {attempt}")
    if len(stale) > MOST_NAMED:
        lines.append(f"  and {len(stale) - MOST_NAMED} more")
    if why:
        lines.append(f"changed: {'; '.join(why[:MOST_NAMED])}")
    lines.append(f"run them again: {go_on} --rerun stale")
    raise RequestError("\n".join(lines))
