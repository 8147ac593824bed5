"""Ends an attempt that takes more GPU memory than its cap. Torch's own cap binds torch only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from orchestrator.machine import nvml
from orchestrator.outcome import Phase
from orchestrator.util.quantities import GIB

# Not the implementation's own memory: the CUDA context, loaded kernels, handles of libraries.
_OVERHEAD_BYTES = GIB
_EVERY_S = 0.1
# In other phases the harness's own tensors are on the device too, and the cap is not for them.
_CAPPED = frozenset({Phase.BUILD, Phase.FIRST_CALL})


class DeviceWatch:
    """Watches the growth of memory in use on the GPUs of one attempt, as the driver counts it.

    It counts by device, not by process: in a container NVML's pids are the host's. So the growth
    of another process on the same GPU counts too.

    Args:
        cap_gib: resources.gpu_memory_gib, of each GPU.
        ordinals: which of the visible GPUs.
        used: ordinal -> bytes in use on that GPU; None: not known.
    """

    kind = "DeviceMemory"

    def __init__(
        self,
        cap_gib: float,
        ordinals: Sequence[int],
        used: Callable[[int], int | None] = nvml.memory_used_bytes,
    ) -> None:
        self._cap = int(cap_gib * GIB)
        self._used = used
        self._session = ExitStack()
        self._session.enter_context(nvml.session())  # kept open: to connect costs more than to ask
        self._before = {ordinal: used(ordinal) for ordinal in ordinals}
        self.next_look = time.monotonic() + _EVERY_S

    def look(self, phase: Phase) -> str | None:
        """Why the attempt is over its cap in `phase`; None: it is not."""
        self.next_look = time.monotonic() + _EVERY_S
        if phase not in _CAPPED:
            return None
        grown = 0
        for ordinal, before in self._before.items():
            now = self._used(ordinal)
            if before is not None and now is not None:
                grown = max(grown, now - before)
        if grown <= self._cap + _OVERHEAD_BYTES:
            return None
        return (
            f"it took {grown / GIB:.2f} GiB of a GPU, the cap is {self._cap / GIB:.2f} "
            f"(resources.gpu_memory_gib) and {_OVERHEAD_BYTES / GIB:.0f} GiB for the CUDA context; "
            "torch's own allocator was capped already"
        )

    def close(self) -> None:
        """Close the connection to NVML."""
        self._session.close()
