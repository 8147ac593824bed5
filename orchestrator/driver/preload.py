"""What the fork servers of a sweep import once for all of its trials."""

from __future__ import annotations

from orchestrator.plan.sweep import Sweep
from orchestrator.usercode import registry
from orchestrator.usercode.workload_file import FileWorkload


def preload(sweep: Sweep) -> tuple[str, ...]:
    """Modules that a fork server may import once: those of registered implementations, and of the
    workload; and of torch what counting the work of a call imports, which takes two seconds.
    """
    known, workloads = registry.implementations(), registry.workloads()
    targets = [
        known[entry.use].target for entry in sweep.spec.implementations if entry.use in known
    ]
    targets += [workloads[sweep.spec.workload]] if sweep.spec.workload in workloads else []
    counts = isinstance(sweep.workload, FileWorkload) and sweep.workload.counts_work
    compiler = {"torch._dynamo"} if counts else set()
    return tuple(sorted({target.partition(":")[0] for target in targets} | compiler))
