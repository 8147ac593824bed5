"""The Attempt for a trial and round: its seed, resources, source and protocol."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.driver.stale import source_of_pair
from orchestrator.plan.sweep import Sweep
from orchestrator.record import Fingerprint, protocol_hash
from orchestrator.results import profiles
from orchestrator.results.rows import Row
from orchestrator.spec.axes import ACCELERATOR_NAME
from orchestrator.spec.models import MeasureProtocol, SweepSpec
from orchestrator.trial import Attempt, Resources, RoundKey, Trial, content_hash

# Of a trial that is screened: enough to tell 1 % on a quiet GPU.
SCREEN_WARMUP_S = 0.02
SCREEN_MIN_S = 0.02
SCREEN_MAX_S = 0.2
SCREEN_REPETITIONS = 10
SCREEN_CI = 0.005
PAUSE_S = 2.0  # before an attempt that was disturbed is made again


class AttemptFactory:
    """Makes the attempts of one sweep on one device; `sources`: label -> source hash."""

    def __init__(
        self, sweep: Sweep, sweep_id: str, device: str, sources: Mapping[str, str]
    ) -> None:
        self._sweep = sweep
        self._sweep_id = sweep_id
        self._device = device
        self._protocol = sweep.spec.measure.for_device(device)
        self._sources = sources

    def attempt(
        self,
        trial: Trial,
        key: RoundKey,
        number: int,
        *,
        pausing: bool = False,
        cut_above_ms: float | None = None,
        screened: Sequence[Trial] = (),
        screened_next: Sequence[Trial] = (),
        incumbent: Row | None = None,
        left: int | None = None,
    ) -> Attempt:
        """The attempt of a trial's round.

        Args:
            trial: what is attempted.
            key: its id and round.
            number: of the attempt, from 1.
            pausing: wait before it, since the attempt before was disturbed.
            cut_above_ms: stop timing once it is certain to be slower.
            screened: the trials to be screened in one process, `trial` the first of them; empty:
                it is measured by itself.
            screened_next: those that are to be screened after them.
            incumbent: what they are compared with.
            left: how many attempts wait after it, if that is known.
        """
        spec = self._sweep.spec
        protocol = self._protocol
        if screened:
            protocol = brief(protocol)
        alone = not screened  # what is screened is timed again by itself, and only then profiled
        return Attempt(
            sweep_id=self._sweep_id,
            trial=trial,
            workload=spec.workload,
            base_dir=self._sweep.base_dir,
            device=self._device,
            seed=input_seed(spec, trial, key[1]),
            protocol=protocol,
            verify=spec.verify,
            resources=self._resources(trial),
            round=key[1],
            attempt=number,
            left=left,
            source=self._source(trial),
            precision=self._precision(trial) if spec.measure.ceilings else "",
            sentinels=spec.measure.sentinels,
            pause_s=PAUSE_S if pausing else 0.0,
            energy=spec.measure.energy and alone,
            profile=spec.measure.profile and alone,
            compile_times=spec.measure.compile and alone,
            graph=spec.measure.graph and alone,
            rival=self._sweep.rivals.get(trial.trial_id),
            screened=tuple(screened),
            screened_next=tuple(screened_next),
            incumbent=None if incumbent is None else incumbent.trial,
            incumbent_ms=None if incumbent is None else incumbent.metrics["latency_ms"],
            cut_above_ms=cut_above_ms,
            salt=secrets.token_hex(8),
        )

    def _resources(self, trial: Trial) -> Resources:
        """An attempt of a paired comparison runs two trials, and may take twice the time."""
        found = self._sweep.resources(trial, self._device)
        if not self._sweep.rivals:
            return found
        return found.model_copy(update={"timeout_s": 2 * found.timeout_s})

    def fingerprint(
        self, trial: Trial, number: int, environment: str, *, screened: bool
    ) -> Fingerprint:
        """The fingerprint that a trial's attempt would have today; the attempt itself is not made.

        Args:
            trial: which.
            number: of the round.
            environment: the hash of what must match of the slot's environment.
            screened: whether it is screened, or measured by itself.
        """
        spec = self._sweep.spec
        protocol = brief(self._protocol) if screened else self._protocol
        seed = input_seed(spec, trial, number)
        return Fingerprint(
            source=self._source(trial),
            environment=environment,
            protocol=protocol_hash(protocol, spec.verify, seed),
        )

    def _source(self, trial: Trial) -> str:
        own = self._sources[trial.implementation]
        second = self._sweep.rivals.get(trial.trial_id)
        if second is None:
            return own
        return source_of_pair(own, self._sources[second.implementation])

    def _precision(self, trial: Trial) -> str:
        # a user's function: where it fails, the trial fails with its reason
        with suppress(Exception):
            return str(self._sweep.workload.precision(self._sweep.params(trial)))
        return ""


def traced(attempt: Attempt, directory: Path) -> Attempt:
    """The attempt, told where in its sweep's directory the trace of its profile belongs."""
    if not attempt.profile:
        return attempt
    with suppress(OSError):  # the journal says when the disk is full
        (directory / profiles.FOLDER).mkdir(exist_ok=True)
    file = (directory / profiles.trace_of(attempt.trial.trial_id)).absolute()
    return attempt.model_copy(update={"trace": str(file)})


def brief(protocol: MeasureProtocol) -> MeasureProtocol:
    """The protocol of a trial that is screened: shorter where the sweep's own is longer."""
    return protocol.model_copy(
        update={
            "warmup_s": min(protocol.warmup_s, SCREEN_WARMUP_S),
            "min_time_s": min(protocol.min_time_s, SCREEN_MIN_S),
            "max_time_s": min(protocol.max_time_s, SCREEN_MAX_S),
            "min_repetitions": min(protocol.min_repetitions, SCREEN_REPETITIONS),
            "target_ci": max(protocol.target_ci, SCREEN_CI),
            "cold_cache": False,
        }
    )


def input_seed(spec: SweepSpec, trial: Trial, number: int) -> int:
    """The seed of the inputs of a round; each round has another.

    It is equal for all implementations, and on each model of accelerator.
    """
    params = dict(trial.params)
    if spec.resources.per_accelerator:
        params.pop(ACCELERATOR_NAME, None)  # `try` has a sweep that is not on a cluster yet
    return int(content_hash([spec.seed, params, number]), 16) % 2**63
