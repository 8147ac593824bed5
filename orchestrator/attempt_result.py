"""What the process of an attempt answers: a record for each trial that it ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.measure.energy import EnergyWindow
from orchestrator.record import TrialRecord
from orchestrator.trial import Attempt, Trial
from orchestrator.usercode.imported import ImportedCode
from orchestrator.util.frozen_model import FrozenModel


class AttemptResult(FrozenModel):
    """The result of one attempt.

    Attributes:
        record: of its trial.
        second: of its second trial (`Attempt.rival`); None: it has none.
        others: of the further trials that were screened (`Attempt.screened`), in their order; those
            that the process did not come to are missing.
        energy: when the process called the trial for the supervisor to read the energy of its
            device; None: it did not.
        imported: the code that the process imported; None: not known.
    """

    record: TrialRecord
    second: TrialRecord | None = None
    others: tuple[TrialRecord, ...] = ()
    energy: EnergyWindow | None = None
    imported: ImportedCode | None = None

    @classmethod
    def of_end(cls, attempt: Attempt, record: TrialRecord) -> AttemptResult:
        """The result of an attempt whose process answered nothing.

        Both trials of a pair ended so; of several that were screened the first.
        """
        if attempt.rival is None:
            return cls(record=record)
        return cls(record=record, second=_as(attempt.rival, record))

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """Every record."""
        found = [self.record]
        if self.second is not None:
            found.append(self.second)
        found += self.others
        return tuple(found)

    def changed(self, change: Callable[[TrialRecord], TrialRecord]) -> AttemptResult:
        """The same with each of its records changed."""
        changed: dict[str, Any] = {
            "record": change(self.record),
            "others": tuple(map(change, self.others)),
        }
        if self.second is not None:
            changed["second"] = change(self.second)
        return self.model_copy(update=changed)


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
