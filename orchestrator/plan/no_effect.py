"""Names keys of a sweep file without effect on this device or strategy. None is refused."""

from __future__ import annotations

from orchestrator.plan.sweep import Sweep
from orchestrator.spec.models import SearchSpec, SweepSpec

ONLY_ON_A_GPU = ("joules_per_call", "energy_mj_per_token", "cold_latency_ms")


def keys_without_effect(sweep: Sweep, device: str, cores: int, slots: int) -> list[str]:
    """One line for each stated key that has no effect, or another one than it says.

    Args:
        sweep: as it is to be run.
        device: "cpu" or "cuda".
        cores: that a trial can keep busy where it runs; 0: not known.
        slots: trials that can run at a time; 0: not known.
    """
    spec = sweep.spec
    found = []
    if device == "cpu":
        found += _gpu_keys(spec)
    if not spec.search.active:
        found += _search_keys(spec)
    wanted = spec.resources.cpus
    if isinstance(wanted, int) and 0 < cores < wanted:
        found.append(
            f"resources.cpus: {wanted} is more than the {cores} that can be used here, "
            f"so trials have {cores}"
        )
    if spec.max_concurrent is not None and 0 < slots < spec.max_concurrent:
        found.append(
            f"max_concurrent: {spec.max_concurrent} is more than there is room for, "
            f"so {slots} run at a time"
        )
    return found


def _gpu_keys(spec: SweepSpec) -> list[str]:
    found = []
    if spec.resources.gpu_memory_gib is not None:
        found.append("resources.gpu_memory_gib has no effect on a CPU")
    if isinstance(spec.resources.gpus, int) and spec.resources.gpus:
        found.append("resources.gpus has no effect on a CPU")
    if spec.search.active and spec.search.metric in ONLY_ON_A_GPU:
        found.append(
            f"search.metric: {spec.search.metric} is measured on a GPU alone: "
            "this search will find nothing"
        )
    return found


def _search_keys(spec: SweepSpec) -> list[str]:
    default = SearchSpec()
    found = []
    for name in SearchSpec.model_fields:
        is_stated = getattr(spec.search, name) != getattr(default, name)
        if is_stated:
            found.append(f"search.{name} has no effect without search.strategy: every point is run")
    return found
