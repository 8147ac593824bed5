"""What the process of an attempt answers: one record, both of a paired comparison, or one of each
trial that was screened.
"""

from __future__ import annotations

from collections.abc import Callable

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
        """The result of an attempt whose process answered nothing: a pair's trials both ended so,
        of several that were screened the first.
        """
        if attempt.rival is None:
            return cls(record=record)
        return cls(record=record, second=_as(attempt.rival, record))

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """Every record."""
        second = () if self.second is None else (self.second,)
        return (self.record, *second, *self.others)

    def changed(self, change: Callable[[TrialRecord], TrialRecord]) -> AttemptResult:
        """The same with each of its records changed."""
        second = None if self.second is None else change(self.second)
        others = tuple(map(change, self.others))
        changed = {"record": change(self.record), "second": second, "others": others}
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
