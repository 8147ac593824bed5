"""Estimates what a sweep would do, and about how long it would take: the answer of `plan`. Runs
nothing, imports no torch.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.cli.catalog import missing
from orchestrator.errors import RequestError
from orchestrator.formatting import counted
from orchestrator.machine import nvml
from orchestrator.machine.environment import usable_cores
from orchestrator.plan.no_effect import keys_without_effect
from orchestrator.plan.sweep import Sweep
from orchestrator.search.factory import bounds
from orchestrator.spec.models import MeasureProtocol
from orchestrator.trial import Resources, Trial
from orchestrator.usercode import registry

# Rough by intention: what a decent implementation reaches in float32, to tell minutes from hours
# before anything is measured. While a sweep runs, the time left is worked out from its own trials.
FLOPS_PER_S = {"cpu_core": 4e10, "cuda": 2e13}
# both verifications together, in calls' worth of work, by float64 being half as fast
REFERENCE_SHARE = 2.0
# one more of a shared process: build, first call, verification, timing in turns, compiling ahead
SCREENED_S = {"cpu": 0.6, "cuda": 0.6}
FIXED_S = {"cpu": 0.4, "cuda": 1.5}  # a process, imports of the workload, a CUDA context
STARTUP_S = 6.0
LONG_S = 3600.0
LONGEST = 3
NEEDS_GPU = re.compile(r"(?:for|needs|wants|takes) (?:a|an|\d+) (?:\w+ )?GPUs?", re.IGNORECASE)


@dataclass(frozen=True)
class Estimate:
    """A plan with its resources and its time in seconds.

    Attributes:
        spent: trial_id -> seconds of one round of it, a process's start included.
        gpus: how many this machine has.
    """

    sweep: Sweep
    device: str
    slots: int
    resources: dict[str, Resources]
    seconds: float
    at_least: int
    at_most: int
    spent: Mapping[str, float] = field(default_factory=dict)
    gpus: int = 0

    def to_json(self) -> dict[str, Any]:
        """count, explanation, trials (each trial_id, implementation, params, options, resources)
        and estimate_s.

        Of a search or a frontier, count and estimate_s are at most, and trials are those that may
        be run and are known: of a frontier all that may be probed, of a search one of each.
        """
        trials = []
        for trial in self.sweep.trials:
            described = {
                "trial_id": trial.trial_id,
                "implementation": trial.implementation,
                "params": trial.params,
                "options": trial.options,
                "resources": self.resources[trial.trial_id].model_dump(),
            }
            trials.append(described)
        return {
            "count": self.at_most,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "explanation": self.sweep.plan.explain(),
            "device": self.device,
            "slots": self.slots,
            "rounds": self.sweep.spec.measure.repeats,
            "trials": trials,
            "estimate_s": round(self.seconds, 1),
            "warnings": self.warnings(),
        }

    def to_text(self) -> str:
        """The same for a person: why that many, on what, for about how long."""
        spec = self.sweep.spec
        rounds = spec.measure.repeats
        trials = _count(self.at_least if spec.proposes else self.at_most, self.at_most)
        lines = [f"{spec.name}: {trials} of {spec.workload} on {self.device}"]
        lines += [f"  {line}" for line in self.sweep.plan.explain()]
        lines += self._question()

        counts: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for trial in self.sweep.trials:
            counts[trial.implementation] += 1
            kinds[_resources_text(self.resources[trial.trial_id])] += 1
        implementations = [f"{name} ({count})" for name, count in counts.items()]
        resources = [f"{_count(count, count)} with {text}" for text, count in kinds.items()]
        lines.append(f"Implementations: {', '.join(implementations)}")
        lines.append(f"Resources: {'; '.join(resources)}")

        fresh = "fresh process" if rounds == 1 else "fresh processes"
        lines.append(f"Rounds: {rounds} (each trial in {rounds} {fresh}), {self.slots} at a time")
        most = "at most " if spec.proposes or spec.predict else ""
        lines.append(f"Estimated time: {most}about {_duration(self.seconds)}")
        lines += [f"! {warning}" for warning in self.warnings()]
        return "\n".join(lines)

    def warnings(self) -> list[str]:
        """What to know before it is started: implementations that cannot run on this device, and
        many hours.
        """
        cores = usable_cores() if self.device == "cpu" or self.gpus else 0
        found = keys_without_effect(self.sweep, self.device, cores, self.slots)
        here = self.gpus if self.device == "cuda" else 0
        known = registry.implementations()
        for use, count in Counter(trial.use for trial in self.sweep.trials).items():
            if use not in known:
                continue
            lacking = missing(known[use].needs, here)
            if lacking:
                trials = counted(count, "trial")
                found.append(f"{use} needs {', '.join(lacking)}: its {trials} will be unsupported")
        said = NEEDS_GPU.search(self.sweep.document.text)  # its comments count, too
        if self.device == "cpu" and said:
            found.append(f"the sweep file says {said[0]!r}, and this plan is for the CPU")
        if self.device == "cuda" and not self.gpus:
            found.append("no GPU is here: this plan is for a machine that has one")
        if self.seconds > LONG_S:
            what = "longer on a CPU than it is worth, most likely; " if self.device == "cpu" else ""
            found.append(
                f"hours: {what}narrow it with --only or -S, or see --cost for what takes the time"
            )
        return found

    def costs(self) -> str:
        """How long each implementation takes in all, the longest first; then the longest trials."""
        from tabulate import tabulate

        repeats = self.sweep.spec.measure.repeats
        sums: Counter[str] = Counter()
        for trial in self.sweep.trials:
            sums[trial.implementation] += repeats * self.spent[trial.trial_id]  # type: ignore[assignment]
        total = sum(sums.values()) or 1
        body = []
        for name, seconds in sums.most_common():
            share = 100 * seconds / total
            body.append([name, _duration(seconds), f"{share:.0f} %"])
        longest = sorted(self.sweep.trials, key=lambda trial: -self.spent[trial.trial_id])[:LONGEST]
        trials = []
        for trial in longest:
            point = " ".join(f"{name}={trial.value(name)}" for name in self.sweep.spec.axes)
            time = _duration(repeats * self.spent[trial.trial_id])
            trials.append(f"  {time}  {trial.implementation} {point}")
        table = tabulate(
            body, ["Implementation", "Time", "Share"], colalign=("left", "right", "right")
        )
        return "\n".join([table, "Longest:", *trials])

    def _question(self) -> list[str]:
        """What a search or a frontier asks, and how many trials that takes."""
        axis, cells = self.sweep.spec.frontier.axis, len(self.sweep.plan.cells)
        if axis is not None:
            probed = f"at least {self.at_least} and at most {self.at_most} of them are probed"
            if self.at_least == self.at_most:
                verb = "is" if self.at_most == 1 else "are"
                probed = f"{self.at_most} of them {verb} probed"
            where = f"frontier of {axis} in {counted(cells, 'cell')}"
            return [f"  {where}, by doubling and bisection: {probed}"]
        search = self.sweep.spec.search
        if search.screen:
            alone = search.finalists + bool(search.first)
            each_s = _screened_s(self.sweep, self.device, self.spent)
            ending = "" if search.budget_s is None else f", for at most {search.budget_s:g} s"
            return [
                f"  screened in shared processes, about {each_s:.1f} s each{ending}; "
                f"of each search at most {alone} are then measured by themselves"
            ]
        if search.budget_s is not None:
            return [
                f"  each search proposes nothing more after {search.budget_s:g} s of its trials"
            ]
        if self.sweep.spec.predict:
            return ["  of which those are not run that a smaller one, out of memory, rules out"]
        return []


def of(sweep: Sweep, device: str = "auto") -> Estimate:
    """The estimate for "cpu", "cuda" or "auto" (CUDA where this machine has a GPU)."""
    gpus = nvml.count()
    kind = device
    if device == "auto":
        kind = "cuda" if gpus else "cpu"
    spec, cores = sweep.spec, usable_cores()
    protocol = spec.measure.for_device(kind)
    per_s = FLOPS_PER_S["cpu_core"] * cores
    if kind == "cuda":
        per_s = FLOPS_PER_S["cuda"]
    known = registry.implementations()
    resources, spent = {}, {}
    for trial in sweep.trials:
        resources[trial.trial_id] = sweep.resources(trial, kind)
        form = known[trial.use].form if trial.use in known else sweep.workload.forms[0]
        seconds = _flops(sweep, trial, form) / per_s
        spent[trial.trial_id] = _seconds(seconds, kind, protocol)

    slots = min(spec.max_concurrent or 1, cores)
    most_gpus = max(resource.gpus for resource in resources.values())
    if kind == "cuda" and most_gpus:
        slots = max(1, gpus // most_gpus)
    slots = min(slots, spec.max_concurrent or slots)

    least, most = bounds(sweep)
    # which of them a search or a frontier will run is not known: the longest
    longest = sum(sorted(spent.values())[-most:])
    busy = longest * max(1.0, most / len(spent)) * spec.measure.repeats
    if spec.search.active:
        busy = _search_s(sweep, kind, most, spent, busy)
    total = STARTUP_S + busy / slots
    return Estimate(sweep, kind, slots, resources, total, least, most, spent, gpus)


def _search_s(
    sweep: Sweep, device: str, most: int, spent: Mapping[str, float], in_full: float
) -> float:
    """Seconds of all searches of a sweep, with what is only screened and budgets counted."""
    search, cells = sweep.spec.search, len(sweep.plan.cells)
    budget_s = math.inf if search.budget_s is None else cells * search.budget_s
    if not search.screen:
        return min(in_full, budget_s)
    screened = most * _screened_s(sweep, device, spent)
    alone = min(cells * (search.finalists + bool(search.first)), most)
    alone_s = alone * sweep.spec.measure.repeats * max(spent.values())
    return min(screened, budget_s) + alone_s


def _screened_s(sweep: Sweep, device: str, spent: Mapping[str, float]) -> float:
    """Seconds of one screened trial: never more than of one that is measured by itself."""
    return min(SCREENED_S[device], max(spent[trial.trial_id] for trial in sweep.trials))


def _seconds(call: float, device: str, protocol: MeasureProtocol) -> float:
    """Seconds of a trial, each of whose calls takes `call` seconds."""
    timed = min(protocol.max_time_s, max(protocol.min_time_s, protocol.min_repetitions * call))
    warm = max(protocol.warmup_s, 3 * call)
    return FIXED_S[device] + call * (1 + REFERENCE_SHARE) + warm + timed


def _flops(sweep: Sweep, trial: Trial, form: str) -> float:
    try:
        return float(sweep.workload.work(sweep.params(trial), form).flops)
    except Exception as error:
        raise RequestError(
            f"workload {sweep.workload.name}: work() fails with {type(error).__name__}: {error}, "
            f"at {trial.params}"
        ) from error


def _count(least: int, most: int) -> str:
    """`1 trial`, `8 trials`, `2 to 16 trials`."""
    if least == most:
        return counted(most, "trial")
    return f"{least} to {counted(most, 'trial')}"


def _resources_text(resources: Resources) -> str:
    parts = []
    if resources.gpus:
        parts.append(counted(resources.gpus, "GPU"))
    parts.append("all cores of a slot" if resources.cpus is None else f"{resources.cpus} cores")
    if resources.gpu_memory_gib is not None:
        parts.append(f"at most {resources.gpu_memory_gib:g} GiB of the card")
    if resources.host_memory_gib is not None:
        parts.append(f"at most {resources.host_memory_gib:g} GiB of host memory")
    parts.append(f"{resources.timeout_s:g} s")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.1f} hours"
