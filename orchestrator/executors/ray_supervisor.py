"""The supervisor of a slot as a Ray actor."""

from __future__ import annotations

from orchestrator.supervisor.supervisor import Supervisor


class RaySupervisor(Supervisor):
    """A Supervisor as a Ray actor: its GPUs are those that Ray gave it."""

    def __init__(
        self,
        device: str,
        cpus: int,
        preload: tuple[str, ...],
        staged: bool,
        slots: int,
        ordinal: int,
    ) -> None:
        import ray

        gpus = ",".join(str(gpu) for gpu in ray.get_gpu_ids())
        node = ray.get_runtime_context().get_node_id()
        super().__init__(device, cpus, gpus, preload, staged, slots, ordinal, node)
