"""Reads, checks and expands a sweep: what `run` executes and `plan` explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from orchestrator.errors import (
    Problem,
    RequestError,
    SweepFileError,
    UnknownNameError,
    nearest,
)
from orchestrator.plan.cases import with_cases
from orchestrator.plan.expand import Plan, Step, expand
from orchestrator.spec import loading, rules
from orchestrator.spec.expression import check, strange_values
from orchestrator.spec.loading import Document
from orchestrator.spec.models import ImplementationSpec, SweepSpec, TrackingSpec
from orchestrator.spec.product import option_names
from orchestrator.trial import Resources, Trial
from orchestrator.usercode import workloads
from orchestrator.workload import Workload


@dataclass(frozen=True)
class Sweep:
    """A valid sweep file and its trials.

    Attributes:
        base_dir: the folder that relative paths of the file start from.
        only: the expression that chose the trials, if one did.
        rivals: in a paired comparison trial_id -> the trial measured interleaved with it; else
            empty.
    """

    spec: SweepSpec
    document: Document = field(repr=False)
    base_dir: str
    workload: Workload = field(repr=False)
    plan: Plan = field(repr=False)
    only: str | None = None
    rivals: Mapping[str, Trial] = field(default_factory=dict)

    @classmethod
    def load(
        cls, path: str | Path, overrides: Sequence[str] = (), only: str | None = None
    ) -> Sweep:
        """The sweep in the file at `path`.

        Args:
            path: a YAML sweep file.
            overrides: `path=value` each, as -S takes them.
            only: an expression; trials for which it does not hold are left out.

        Raises:
            SweepFileError: the file breaks rules; each is named with line, field, rule and value.
            RequestError: an override or `only` is no expression, or nothing is selected.
        """
        spec, document = loading.read(path, overrides)
        return cls._of(spec, document, str(Path(path).resolve().parent), only)

    @classmethod
    def parse(cls, text: str, base_dir: str | Path = ".", name: str = "sweep") -> Sweep:
        """The sweep in a text; `name` stands for the file in messages."""
        spec, document = loading.parse(text, name)
        return cls._of(spec, document, str(Path(base_dir).resolve()), None)

    @classmethod
    def _of(
        cls,
        spec: SweepSpec,
        document: Document,
        base_dir: str,
        only: str | None,
        *,
        fresh: bool = True,
    ) -> Sweep:
        """Find the workload, check the rules, expand; `fresh`: the file was read just now."""
        try:
            workload = workloads.find(spec.workload, base_dir)
        except UnknownNameError as error:
            problem = document.problem(("workload",), str(error), hint=_near_format(spec.workload))
            raise SweepFileError(document.name, [problem]) from None
        except (Exception, SystemExit) as error:  # of the user's file, which may do anything
            rule = f"cannot be imported: {type(error).__name__}: {error}"
            hint = _near_format(spec.workload)
            problem = document.problem(("workload",), rule, spec.workload, hint)
            raise SweepFileError(document.name, [problem]) from error
        if fresh:  # else the cases are axes already, as they were when the sweep began
            spec = with_cases(spec, document, workload, base_dir)
        problems: list[Problem] = rules.find(spec, document, workload, base_dir)
        if problems:
            raise SweepFileError(document.name, problems)
        labels = {"implementation": [entry.label for entry in spec.implementations]}
        if only is not None:
            known = {"implementation", *workload.params.model_fields, *spec.axes}
            known.discard("device")  # no trial has it as a param
            known |= option_names(spec)
            check(only, known, labels)
        plan = expand(spec, workload, document, only)
        if not plan.trials:
            reasons = plan.explain()
            if only is not None:
                strange = strange_values(only, labels)
                if strange:
                    reasons.append(strange)
            raise RequestError(f"nothing to run: {'; '.join(reasons)}")
        return cls(spec, document, base_dir, workload, plan, only)

    @classmethod
    def resolved(cls, spec: SweepSpec, base_dir: str, only: str | None, name: str) -> Sweep:
        """The sweep of a spec that was read before, as sweep.resolved.json keeps it."""
        return cls._of(spec, Document(name, "", {}), base_dir, only, fresh=False)

    def tracked_to(self, uri: str | None) -> Sweep:
        """The same sweep with its MLflow runs at `uri`; None: where the file says."""
        if uri is None:
            return self
        return replace(self, spec=self.spec.model_copy(update={"tracking": TrackingSpec(uri=uri)}))

    def on_each(self, accelerators: Sequence[str]) -> Sweep:
        """The same sweep with each trial on each of these models, one below the other.

        Raises:
            RequestError: those are more than `max_trials`.
        """
        trials = tuple(trial.on(model) for trial, model in product(self.trials, accelerators))
        if len(trials) > self.spec.max_trials:
            raise RequestError(
                f"{len(self.trials)} trials on each of {len(accelerators)} models of accelerator "
                f"are more than max_trials ({self.spec.max_trials})"
            )
        step = Step(f"on each of {', '.join(accelerators)} = {len(trials)} trials", len(trials))
        plan = replace(self.plan, trials=trials, steps=(*self.plan.steps, step))
        return replace(self, plan=plan)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, in table order."""
        return self.plan.trials

    @property
    def duel(self) -> tuple[str, str] | None:
        """The labels of the two implementations measured interleaved; None: no comparison."""
        if not self.rivals:
            return None
        return self.trials[0].implementation, self.trials[-1].implementation

    @cached_property
    def entries(self) -> dict[str, ImplementationSpec]:
        """The implementation entries by label."""
        return {entry.label: entry for entry in self.spec.implementations}

    def gpus(self, trial: Trial) -> int:
        """How many GPUs the trial takes on a CUDA device.

        Raises:
            RequestError: `resources.gpus` states fewer than a trial has ranks.
        """
        stated = self.spec.resources.gpus
        if stated == "auto":
            return self._gpus_of_workload(trial)
        ranks = self.ranks(trial)
        if ranks > 1 and stated < ranks:
            raise RequestError(
                f"resources.gpus: {stated} where a trial of {self.workload.name} "
                f"has {ranks} ranks, each with a GPU of its own; "
                f"leave it out, or state {ranks} or more (at {trial.params})"
            )
        return stated

    def ranks(self, trial: Trial) -> int:
        """How many processes share the trial: as many as its workload asks GPUs for, if it shards
        its inputs.
        """
        if self.workload.shard is None:
            return 1
        return max(1, self._gpus_of_workload(trial))

    def _gpus_of_workload(self, trial: Trial) -> int:
        # A user's function, called before anything is run: its failure is the file's.
        try:
            return int(self.workload.gpus(self.params(trial)))
        except Exception as error:
            raise RequestError(
                f"workload {self.workload.name}: gpus() fails with {type(error).__name__}: "
                f"{error}, at {trial.params}"
            ) from error

    def params(self, trial: Trial) -> Any:
        """The trial's params as the workload's model, which the workload's functions take."""
        return self.workload.params.model_validate_json(trial.params_of(self.workload.params))

    def resources(self, trial: Trial, device: str) -> Resources:
        """What one attempt of the trial may take on "cpu" or "cuda"."""
        spec = self.spec.resources
        gpus, gpu_memory_gib = 0, None
        if device == "cuda":
            gpus, gpu_memory_gib = self.gpus(trial), spec.gpu_memory_gib
        return Resources(
            gpus=gpus,
            ranks=self.ranks(trial),
            cpus=None if spec.cpus == "auto" else spec.cpus,
            gpu_memory_gib=gpu_memory_gib,
            host_memory_gib=spec.host_memory_gib,
            timeout_s=spec.timeout_s,
        )


def _near_format(workload: str) -> str | None:
    """A hint at the format whose name is meant by a slip of the finger; None: there is none."""
    prefix, colon, _ = workload.partition(":")
    near = nearest(prefix, workloads.adapters())
    if not colon or near is None or near == prefix:
        return None
    return f"did you mean {near}:PATH?"
