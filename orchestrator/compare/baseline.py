"""Which earlier sweep a sweep is to be held against where machines differ from run to run."""

from __future__ import annotations

from orchestrator.compare.pairing import pair_up, unlike
from orchestrator.errors import OrchestratorError, SweepNotFoundError
from orchestrator.results import lookup
from orchestrator.results.results import Results
from orchestrator.results.sweep_directory import load

MOST = 200  # earlier sweeps that are looked at


def newest_alike(candidate: Results) -> Results:
    """The newest earlier sweep of the name that was measured in the candidate's environment.

    Imported ones count: runners of CI come and go, and their results stay.

    Raises:
        SweepNotFoundError: there is none; with what the nearest differs in.
    """
    known = lookup.directories(candidate.meta.name)
    earlier = [path for path in known if path.name < candidate.meta.sweep_id]
    nearest: list[str] | None = None
    for path in reversed(earlier[-MOST:]):
        try:
            found = load(path)
        except OrchestratorError:
            continue  # one that cannot be read must not hide the others
        matched, _ = pair_up(found.rows, candidate.rows)
        facts = unlike(found, candidate, matched)
        if matched and not facts:
            return found
        if matched and (nearest is None or len(facts) < len(nearest)):
            nearest = facts
    why = f"; the nearest differs in {'; '.join(nearest)}" if nearest else ""
    raise SweepNotFoundError(
        f"no earlier sweep named {candidate.meta.name!r} was measured on such a machine"
        f"{why}. Measure the base here, in turns: compare BASE.yaml CANDIDATE.yaml --again"
    )
