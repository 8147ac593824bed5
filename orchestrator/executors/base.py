"""The protocol between the runner and whatever executes attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from orchestrator.attempt_result import AttemptResult
from orchestrator.errors import AbortedError
from orchestrator.machine.observation import Observation
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord
from orchestrator.trial import Attempt
from orchestrator.usercode.imported import ImportedCode


@dataclass(frozen=True)
class SlotReady:
    """A slot can take attempts; `environment` is what `environment.describe` said there."""

    slot: int
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """An attempt left the queue and runs on a slot."""

    attempt: Attempt
    slot: int


@dataclass(frozen=True)
class PhaseChanged:
    """A running attempt reached a phase."""

    attempt: Attempt
    phase: Phase
    slot: int


@dataclass(frozen=True)
class Finished:
    """An attempt ended, in whatever way.

    Attributes:
        log: its bounded output.
        again: whether another will follow.
        second: the record of the second trial of a paired comparison.
        others: the records of the further trials that it screened.
        imported: the code that its process imported; None: not known.
    """

    attempt: Attempt
    record: TrialRecord
    log: bytes = b""
    again: bool = False
    second: TrialRecord | None = None
    others: tuple[TrialRecord, ...] = ()
    imported: ImportedCode | None = None

    @classmethod
    def of(cls, attempt: Attempt, result: AttemptResult, log: bytes = b"") -> Finished:
        """The end of an attempt with this result."""
        return cls(
            attempt,
            result.record,
            log,
            second=result.second,
            others=result.others,
            imported=result.imported,
        )

    def of_each_trial(self) -> list[Finished]:
        """The end of each trial of the attempt that it came to, its own record with each.

        The log of a process that screened is kept with the trials that are not ok.
        """
        records = [self.record]
        if self.second is not None:
            records.append(self.second)
        records += self.others
        ends = []
        for own, record in zip(self.attempt.of_each_trial(), records, strict=False):
            log = self.log
            if self.attempt.screened and record.outcome is Outcome.OK:
                log = b""
            ends.append(replace(self, attempt=own, record=record, log=log, second=None, others=()))
        return ends


@dataclass(frozen=True)
class Observed:
    """A slot's device was looked at."""

    observation: Observation


@dataclass(frozen=True)
class Noted:
    """A message for the user: what a busy cluster is waited for, say."""

    text: str


@dataclass(frozen=True)
class SlotLost:
    """A slot is no longer trusted or no longer there; what is queued runs on the others."""

    slot: int
    reason: str


class StartStoppedError(AbortedError):
    """The start of an executor was given up, as asked."""


Event = SlotReady | Started | PhaseChanged | Finished | Observed | SlotLost | Noted


class Executor(Protocol):
    """Runs attempts in the order they were submitted, each on one slot, and reports events.

    Every submitted attempt ends in exactly one `Finished`, unless `cancel_queued` returned it or
    the executor was closed. All methods are called from one thread.
    """

    @property
    def device(self) -> str:
        """What attempts measure here: "cpu" or "cuda"."""
        ...

    @property
    def slots(self) -> int:
        """How many attempts can run at once."""
        ...

    @property
    def accelerators(self) -> Sequence[str]:
        """The models that have slots of their own (`per_accelerator`); else empty."""
        ...

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt."""
        ...

    def poll(self, timeout_s: float) -> list[Event]:
        """The events since the last call, oldest first; waits at most `timeout_s` seconds for one.

        Raises:
            UnfitMachineError: there is no slot left to run anything on, or none was to be had in
                time.
        """
        ...

    def cancel_queued(self) -> list[Attempt]:
        """Take back what has not started; what runs goes on."""
        ...

    def conclude(self) -> list[Event]:
        """Calibrate a last time, if that is wanted: nothing runs, and nothing more is submitted."""
        ...

    def close(self) -> None:
        """End what runs, at once, and leave no process behind. A second call does nothing."""
        ...
