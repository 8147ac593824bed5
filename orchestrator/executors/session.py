"""A driver's connection to Ray: to one of its own, behind a token and gone with it, or to a cluster that is there."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UnfitMachineError
from orchestrator.executors.base import StartStoppedError
from orchestrator.executors.cleanup import CleanupProcess, clear_up_after_others
from orchestrator.executors.staging import Staging
from orchestrator.isolation import proc
from orchestrator.machine.environment import usable_cores

LOOPBACK = "127.0.0.2"  # Ray rewrites 127.0.0.1 to the machine's outer address
OBJECT_STORE_BYTES = 128 * 1024**2
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_worker_niceness": "0",  # 15 by default, and trials would inherit it
}
_LOOK_S = 0.05


@dataclass(frozen=True)
class RayOptions:
    """What a RayExecutor must know of the sweep.

    Attributes:
        device: "cpu", "cuda" or "auto": CUDA where any node has a GPU.
        address: of a running cluster; None: a Ray of our own on this machine, for this sweep only.
        gpus: GPUs of a slot, on CUDA.
        cpus: cores of a slot; None: an equal share of the node's.
        max_concurrent: the most slots.
        gpu_memory_gib: cap on a trial's share of a card, part of the environment.
        preload: modules that the fork servers import once.
        base_dir: the folder that relative paths of the sweep file start from.
        references: every `use` and `workload` of the sweep, for the files that must travel.
    """

    device: str = "auto"
    address: str | None = None
    gpus: int = 1
    cpus: int | None = None
    max_concurrent: int | None = None
    gpu_memory_gib: float | None = None
    preload: tuple[str, ...] = ()
    base_dir: str = "."
    references: frozenset[str] = frozenset()


class Session:
    """Open once constructed; `ray` is the module, connected.

    Ray starts on a thread of its own, so that a signal is heard meanwhile. The thread stays until the session is
    closed: the kernel ends Ray's servers with the thread that started them.

    Args:
        load: imports and returns ray.
        options: what the sweep needs.
        stopped: whether to give up starting; asked while the end is waited for, too, so that it may look to its
            signals: Ray's end gives SIGTERM its default effect.

    Attributes:
        staging: what travels to a cluster's nodes; None on a Ray of our own.

    Raises:
        UnfitMachineError: Ray cannot be started or reached.
        StartStoppedError: `stopped` said so.
    """

    def __init__(self, load: Callable[[], Any], options: RayOptions, stopped: Callable[[], bool]) -> None:
        self.ray: Any = None
        self.staging: Staging | None = None
        self._options = options
        self._load = load
        self._stopped = stopped
        self._owned = False
        self._sentinel: CleanupProcess | None = None
        self._scratch: Path | None = None
        self._error: BaseException | None = None
        self._tried, self._over, self._gone = threading.Event(), threading.Event(), threading.Event()
        threading.Thread(target=self._hold, name="ray", daemon=True).start()
        while not self._tried.wait(_LOOK_S):
            if stopped():
                self._over.set()
                raise StartStoppedError("stopped while Ray was starting")
        self._raise_what_was_raised()

    def close(self) -> None:
        """Leave Ray; one of our own ends, and whatever belongs to it. A second call does nothing."""
        self._over.set()
        while not self._gone.wait(_LOOK_S):
            self._stopped()
        self._stopped()

    def _raise_what_was_raised(self) -> None:
        if self._error is not None:
            self.close()
            place = self._options.address or "this machine"
            raise UnfitMachineError(f"Ray cannot be reached or started on {place}: {self._error}") from self._error

    def _hold(self) -> None:
        try:
            self._connect()
        except BaseException as error:  # noqa: BLE001 - for whoever waits, in whose thread it is raised
            self._error = error
        self._tried.set()
        self._over.wait()
        try:
            self._disconnect()
        finally:
            self._gone.set()

    def _connect(self) -> None:
        os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
        local = self._options.address is None
        if local:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        self.ray = self._load()
        if self.ray.is_initialized():
            return
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        arguments = self._local_arguments() if local else self._cluster_arguments()
        self._owned = True
        try:
            self.ray.init(log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=False, **arguments)
        finally:
            os.environ.pop(proc.DRIVER_MARK, None)

    def _disconnect(self) -> None:
        if self._owned:
            self.ray.shutdown()
        if self._sentinel is not None:
            self._sentinel.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _local_arguments(self) -> dict[str, Any]:
        clear_up_after_others()
        self._sentinel = CleanupProcess()
        os.environ[proc.DRIVER_MARK] = self._sentinel.mark
        return {
            "_temp_dir": str(self._sentinel.folder),
            "address": "local",
            "include_dashboard": False,
            "num_cpus": usable_cores(),
            "object_store_memory": OBJECT_STORE_BYTES,
            "_node_ip_address": LOOPBACK,
            # Else Ray puts the current folder first on its workers' path, and a user's orchestrator.py before ours.
            "job_config": self.ray.job_config.JobConfig(_client_job=True),
        }

    def _cluster_arguments(self) -> dict[str, Any]:
        self._scratch = Path(tempfile.mkdtemp(prefix="staged-"))
        self.staging = Staging(self._scratch, self._options.base_dir, set(self._options.references))
        return {"address": self._options.address, "runtime_env": {"working_dir": str(self._scratch)}}
