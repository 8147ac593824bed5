"""Whether an attempt takes more of its GPUs than its cap allows. Torch's own cap binds torch only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from orchestrator.machine import nvml
from orchestrator.outcome import Phase

GIB = 2**30
# Not the implementation's doing, but on the device all the same: the context, loaded kernels, handles of libraries.
_OVERHEAD_BYTES = GIB
_EVERY_S = 0.1
# Elsewhere the harness's own tensors are on the device too, and the cap is not meant for them.
_CAPPED = frozenset({Phase.BUILD, Phase.FIRST_CALL})


class DeviceWatch:
    """Watches the growth of memory in use on the GPUs of one attempt, as their driver counts it.

    By device, not by process: in a container NVML's pids are the host's. Another process that grows on the same GPU
    meanwhile is counted too.

    Args:
        cap_gib: resources.gpu_memory_gib, of each GPU.
        ordinals: which of the visible GPUs.
        used: ordinal -> bytes in use there, None where nobody knows.
    """

    kind = "DeviceMemory"

    def __init__(
        self, cap_gib: float, ordinals: Sequence[int], used: Callable[[int], int | None] = nvml.memory_used_bytes
    ) -> None:
        self._cap = int(cap_gib * GIB)
        self._used = used
        self._session = ExitStack()
        self._session.enter_context(nvml.session())  # held, so that each look costs a question and no connection
        self._before = {ordinal: used(ordinal) for ordinal in ordinals}
        self.next_look = time.monotonic() + _EVERY_S

    def look(self, phase: Phase) -> str | None:
        """What to say of an attempt in `phase` that takes too much; None: it does not."""
        self.next_look = time.monotonic() + _EVERY_S
        grown = max((self._growth(ordinal) for ordinal in self._before), default=0) if phase in _CAPPED else 0
        if grown <= self._cap + _OVERHEAD_BYTES:
            return None
        return (
            f"it took {grown / GIB:.2f} GiB of a GPU, the cap is {self._cap / GIB:.2f} (resources.gpu_memory_gib) "
            f"and {_OVERHEAD_BYTES / GIB:.0f} GiB for the CUDA context; torch's own allocator was capped already"
        )

    def close(self) -> None:
        """Let go of NVML."""
        self._session.close()

    def _growth(self, ordinal: int) -> int:
        before, now = self._before[ordinal], self._used(ordinal)
        return 0 if before is None or now is None else now - before
