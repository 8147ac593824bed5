"""What the fork servers of a sweep import once for all of its trials."""

from __future__ import annotations

import json

from orchestrator.plan.sweep import Sweep
from orchestrator.usercode import registry
from orchestrator.usercode.workload_file import FileWorkload

GRADIENTS = "orchestrator.isolation.child:know_gradients"
MOST_SAMPLED = 100  # trials; one that is passed over imports by itself what it needs


def preload(sweep: Sweep) -> tuple[str, ...]:
    """What a fork server may import or call once, sorted.

    The modules of registered implementations and of the workload (a user's own file must not run
    outside of a trial), and of torch what trials would otherwise import each.
    """
    implementations, workloads = registry.implementations(), registry.workloads()
    targets = []
    for entry in sweep.spec.implementations:
        if entry.use in implementations:
            targets.append(implementations[entry.use].target)
    if sweep.spec.workload in workloads:
        targets.append(workloads[sweep.spec.workload])
    names = {target.partition(":")[0] for target in targets}
    if isinstance(sweep.workload, FileWorkload) and sweep.workload.counts_work:
        names.add("torch._dynamo")  # imported when the work of a call is counted: two seconds
    if _takes_gradients(sweep):
        names.add(GRADIENTS)  # imported with the first gradient: a third of a second
    return tuple(sorted(names))


def _takes_gradients(sweep: Sweep) -> bool:
    """Whether any of the trials sampled has a backward pass."""
    workload = sweep.workload
    for trial in sweep.trials[:: 1 + len(sweep.trials) // MOST_SAMPLED]:
        given = json.loads(trial.params_of(workload.params))
        if workload.backward(workload.params.model_validate(given)):
            return True
    return False
