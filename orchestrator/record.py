"""The record of one attempt: what the journal keeps, and what every report is computed from.

Schema history
    1   first version
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.outcome import Outcome, Phase
from orchestrator.spec.models import MeasureProtocol, VerifySpec
from orchestrator.trial import Attempt, content_hash
from orchestrator.util.frozen_model import FrozenModel

SCHEMA_VERSION = 1
MAX_MESSAGE = 10_000


class ErrorInfo(FrozenModel):
    """Why an attempt did not end well.

    Attributes:
        kind: name of the exception or signal.
        message: what it said.
        log: the log to open.
    """

    kind: str
    message: str
    log: str | None = None

    @classmethod
    def of(cls, kind: str, message: str, log: str | None = None) -> ErrorInfo:
        """An error with its message capped at MAX_MESSAGE bytes, saying so."""
        return cls(kind=kind, message=capped(message, MAX_MESSAGE), log=log)


class Fingerprint(FrozenModel):
    """Hashes of what must be the same for two records to stand in one table."""

    source: str
    environment: str
    protocol: str


class KernelShare(FrozenModel):
    """A kernel that one call ran: how often, and its share of the time of all of them.

    Attributes:
        counters: of the hardware, where a profiler that reads them ran: name -> value, the unit in
            the name.
    """

    name: str
    count: int
    share: float
    counters: dict[str, float] = {}


class TrialRecord(FrozenModel):
    """One attempt of one trial; a line of results.jsonl.

    Attributes:
        metrics: figures by name, the unit in the name; null unless ok.
        values_ms: every repetition, in milliseconds per call; null unless ok.
        flags: warnings on a row that is ok.
        notes: what is worth knowing and is no warning (power_capped).
        phase_s: seconds of each phase by name, `start` and `end` of its process included,
            `calibrate` where the machine was looked at first, and `compile` where candidates of a
            search were compiled ahead, on the first of them; None: not known.
        card: the UUID of the GPU that it was made on.
        node: the cluster's name of the node; empty on a machine alone.
        slot: number of the slot that ran it; None: not known.
        cards: UUID and PCI address of each GPU that it had, "GPU-... 00000000:1B:00.0".
        kernels: what one more call ran, where it was profiled.
        salt: what the inputs of the attempt were drawn with, beside the seed.
        reused_from: id of the sweep that measured it, if another than its own; times, host and card
            are those of the measurement.
        environment: what must match and what to know; kept once, in environment.json, not in the
            journal.
    """

    schema_version: int = SCHEMA_VERSION
    sweep_id: str
    trial_id: str
    implementation: str
    params: dict[str, Any]
    options: dict[str, Any] = {}
    round: int = 1
    attempt: int = 1
    outcome: Outcome
    phase: Phase
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: ErrorInfo | None = None
    metrics: dict[str, float | None] | None = None
    values_ms: tuple[float, ...] | None = None
    phase_s: dict[str, float] | None = None
    fingerprint: Fingerprint
    started_at: str
    finished_at: str
    host: str = ""
    node: str = ""
    device: str = ""
    card: str | None = None
    slot: int | None = None
    cards: tuple[str, ...] = ()
    kernels: tuple[KernelShare, ...] = ()
    salt: str = ""
    reused_from: str = ""
    environment: dict[str, Any] = {}

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells this record's attempt from every other of its sweep."""
        return self.trial_id, self.round, self.attempt

    def to_line(self) -> str:
        """The record as JSON, without a line break.

        Without the environment, which is kept once a sweep, and without empty fields that came
        after the first version of the schema.
        """
        left_out = {"environment"}
        for name in ("phase_s", "card", "cards", "kernels", "salt", "reused_from"):
            if not getattr(self, name):
                left_out.add(name)
        if self.slot is None:
            left_out.add("slot")
        return self.model_dump_json(exclude=left_out)


def record_of(
    attempt: Attempt,
    outcome: Outcome,
    phase: Phase,
    started_at: str,
    match: Mapping[str, Any],
    **fields: Any,
) -> TrialRecord:
    """The record of an attempt that ended just now.

    Args:
        attempt: which.
        outcome: how it ended.
        phase: in which phase.
        started_at: when it began, as records state it.
        match: what must match of the environment; part of the fingerprint.
        fields: further fields of TrialRecord, or other values than those of here and now.
    """
    trial = attempt.trial
    identity = {
        "sweep_id": attempt.sweep_id,
        "trial_id": trial.trial_id,
        "implementation": trial.implementation,
        "params": trial.params,
        "options": trial.options,
        "round": attempt.round,
        "attempt": attempt.attempt,
        "salt": attempt.salt,
    }
    made = {
        "fingerprint": fingerprint(attempt, match),
        "started_at": started_at,
        "finished_at": utc_now(),
        "host": socket.gethostname(),
        "device": attempt.device,
    }
    return TrialRecord(**{**identity, "outcome": outcome, "phase": phase, **made, **fields})


def log_of(trial_id: str) -> str:
    """Where the log of a trial is, from the sweep's directory."""
    return f"logs/{trial_id}.log"


def utc_now() -> str:
    """The time as records state it: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def fingerprint(attempt: Attempt, environment: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of an attempt made in an environment (the fields of it that must match)."""
    return Fingerprint(
        source=attempt.source,
        environment=content_hash(dict(environment)),
        protocol=protocol_hash(attempt.protocol, attempt.verify, attempt.seed),
    )


def protocol_hash(protocol: MeasureProtocol, verify: VerifySpec, seed: int) -> str:
    """The part of a fingerprint that says how it was measured and judged, on which inputs."""
    return content_hash(
        {"protocol": protocol.model_dump(), "verify": verify.model_dump(), "seed": seed}
    )


def capped(text: str, limit: int) -> str:
    """`text` cut to about `limit` bytes of UTF-8, with a mark in place of the cut.

    Twice as much is kept of the end as of the beginning: an error's reason stands there.
    """
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    mark = f"[... {len(data)} bytes, the last {limit // 2} and the first {limit // 4} shown ...]"
    head, tail = data[: limit // 4], data[-(limit // 2) :]
    return f"{head.decode(errors='ignore')}\n{mark}\n{tail.decode(errors='ignore')}"
