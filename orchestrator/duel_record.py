"""The two records of a duel's attempt: made by one process, they travel as one and part at the
driver's journal.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.outcome import Flag, Outcome
from orchestrator.record import TrialRecord
from orchestrator.trial import Attempt, Trial

RIVAL = "rival"  # where the environment of the first record holds what the second says for itself
_OF_THE_MACHINE = (Flag.THROTTLED.value, Flag.CONTENDED.value)
_OWN = ("outcome", "phase", "flags", "notes", "error", "metrics", "values_ms")


def attempts(attempt: Attempt) -> tuple[Attempt, ...]:
    """The attempt of either side, as if it were alone; of a sweep that is no duel, the attempt
    itself.
    """
    if attempt.rival is None:
        return (attempt,)
    alone = attempt.model_copy(update={"rival": None})
    return alone, alone.model_copy(update={"trial": attempt.rival})


def joined(first: TrialRecord, second: TrialRecord) -> TrialRecord:
    """The first record, with the second in its environment."""
    own = second.model_dump(mode="json", include=set(_OWN))
    held: dict[str, Any] = {"fields": own, "notes_before": len(first.notes)}
    return first.model_copy(update={"environment": {**first.environment, RIVAL: held}})


def survivor(record: TrialRecord) -> bool:
    """Whether the second side of this record is ok: what was seen of the machine is about its
    figures, then.
    """
    held = record.environment.get(RIVAL)
    return held is not None and held["fields"]["outcome"] == Outcome.OK


def parted(attempt: Attempt, record: TrialRecord) -> tuple[TrialRecord, ...]:
    """The records of an attempt: one, or those of either side.

    What the supervisor saw of the machine meanwhile holds for both. Where the process ended without
    an answer, both ended so.
    """
    if attempt.rival is None:
        return (record,)
    environment = dict(record.environment)
    held = environment.pop(RIVAL, None)
    first = record.model_copy(update={"environment": environment})
    second = _as(attempt.rival, first)
    if held is None:
        return first, second
    answer = TrialRecord.model_validate_json(
        json.dumps({**second.model_dump(mode="json"), **held["fields"]})
    )
    told = answer.outcome is Outcome.OK  # without figures there is nothing to doubt
    seen_flags = [flag for flag in first.flags if told and flag in _OF_THE_MACHINE]
    seen_notes = first.notes[held["notes_before"] :] if told else ()
    both = {
        "flags": tuple(dict.fromkeys((*answer.flags, *seen_flags))),
        "notes": (*answer.notes, *seen_notes),
        "environment": environment,
    }
    if first.outcome is not Outcome.OK:
        kept = [flag for flag in first.flags if flag not in _OF_THE_MACHINE]
        first = first.model_copy(
            update={"flags": tuple(kept), "notes": first.notes[: held["notes_before"]]}
        )
    return first, answer.model_copy(update=both)


def _as(trial: Trial, record: TrialRecord) -> TrialRecord:
    """The same record, of another trial."""
    error = record.error
    if error is not None and error.log is not None:
        error = error.model_copy(update={"log": error.log.replace(record.trial_id, trial.trial_id)})
    return record.model_copy(
        update={
            "trial_id": trial.trial_id,
            "implementation": trial.implementation,
            "params": trial.params,
            "options": trial.options,
            "error": error,
        }
    )
