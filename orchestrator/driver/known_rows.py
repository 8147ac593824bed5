"""Which rows of a sweep are known from earlier ones: the answer of `plan --reuse` and `--why`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from orchestrator.driver.reuse import Reuse, device_here, environments_here
from orchestrator.driver.stale import KnownSources
from orchestrator.formatting import counted, printable, shown
from orchestrator.history.known import Hit, Miss
from orchestrator.plan.sweep import Sweep
from orchestrator.results.reused import origin
from orchestrator.trial import Trial

SEARCHED = (
    "not known before: a search proposes each trial by how the earlier ones ended, and takes those "
    "that an earlier sweep measured alike as they come"
)


@dataclass(frozen=True)
class KnownRows:
    """Per trial what is known of it.

    Attributes:
        hits: trials whose row is known.
        misses: trials whose row is not; the reason where it was asked for.
        note: why neither can be known before; "": they are.
    """

    sweep: Sweep
    hits: list[tuple[Trial, Hit]]
    misses: list[tuple[Trial, Miss | None]]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Hits (trial_id, sweep_id, measured_at, model, card) and misses (trial_id, why).

        With the note, if neither can be known before.
        """
        hits = []
        for trial, hit in self.hits:
            hits.append(
                {
                    "trial_id": trial.trial_id,
                    "sweep_id": hit.sweep_id,
                    "measured_at": hit.measured_at,
                    "model": hit.model or None,
                    "card": hit.card or None,
                }
            )
        misses = []
        for trial, miss in self.misses:
            why = None if miss is None else miss.why
            misses.append({"trial_id": trial.trial_id, "why": why})
        found: dict[str, Any] = {"hits": hits, "misses": misses}
        if self.note:
            found["note"] = self.note
        return found

    def to_text(self) -> str:
        """How many are known from where, and each that is not, with the reason if asked for."""
        if self.note:
            return f"Reuse: {self.note}"
        total = len(self.hits) + len(self.misses)
        to_measure = f"{len(self.misses)} to be measured"
        if self.sweep.spec.frontier.axis is not None:  # it stops at the first that does not fit
            to_measure = f"at most {to_measure}"
        known = f"{len(self.hits)} of {counted(total, 'row')} known"
        lines = [f"Reuse: {known}, {to_measure}"]
        origins: Counter[str] = Counter()
        for _, hit in self.hits:
            origins[origin(hit.sweep_id, hit.measured_at, hit.model, hit.card)] += 1
        for place, count in origins.items():
            lines.append(f"  {count} from {place}")
        for trial, miss in self.misses:
            if miss is None:
                continue
            point = printable(trial.implementation)
            for name in self.sweep.spec.axes:
                point += f" {name}={shown(trial.value(name))}"
            lines.append(f"  {point}: {printable(miss.why)}")
        return "\n".join(lines)


def of(sweep: Sweep, device: str, *, why: bool) -> KnownRows:
    """What is known of a sweep on "auto", "cpu" or "cuda" of this machine.

    Args:
        sweep: what would be run.
        device: where.
        why: whether each row that is not known gets a reason.
    """
    if sweep.spec.search.active:
        return KnownRows(sweep, [], [], SEARCHED)
    kind = device_here(device)
    found = Reuse(sweep, kind, environments_here(sweep, kind), KnownSources(sweep))
    hits: list[tuple[Trial, Hit]] = []
    misses: list[tuple[Trial, Miss | None]] = []
    for trial in sweep.trials:
        hit = found.hit(trial)
        if hit is not None:
            hits.append((trial, hit))
        elif why:
            misses.append((trial, found.why_not(trial)))
        else:
            misses.append((trial, None))
    found.close()
    return KnownRows(sweep, hits, misses)
