"""What the fork servers of a sweep import once for all of its trials."""

from __future__ import annotations

import json

from orchestrator.plan.sweep import Sweep
from orchestrator.usercode import registry
from orchestrator.usercode.workload_file import FileWorkload

GRADIENTS = "orchestrator.isolation.child:know_gradients"
LOOKED_AT = 100  # trials at most; one that is passed over imports by itself what it needs


def preload(sweep: Sweep) -> tuple[str, ...]:
    """What a fork server may import or call once: the modules of registered implementations and of
    the workload; and of torch what the first gradient imports, a third of a second, and what
    counting the work of a call imports, two seconds, where trials do that.
    """
    known, workloads = registry.implementations(), registry.workloads()
    targets = [
        known[entry.use].target for entry in sweep.spec.implementations if entry.use in known
    ]
    targets += [workloads[sweep.spec.workload]] if sweep.spec.workload in workloads else []
    counts = isinstance(sweep.workload, FileWorkload) and sweep.workload.counts_work
    names = {target.partition(":")[0] for target in targets}
    if counts:
        names.add("torch._dynamo")
    if _takes_gradients(sweep):
        names.add(GRADIENTS)
    return tuple(sorted(names))


def _takes_gradients(sweep: Sweep) -> bool:
    """Whether any of the trials that are looked at has a backward pass."""
    workload = sweep.workload
    for trial in sweep.trials[:: 1 + len(sweep.trials) // LOOKED_AT]:
        given = json.loads(trial.params_of(workload.params))
        if workload.backward(workload.params.model_validate(given)):
            return True
    return False
