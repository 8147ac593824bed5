"""A driver's connection to Ray: to its own, behind a token, or to an existing cluster."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UnfitMachineError
from orchestrator.executors.base import StartStoppedError
from orchestrator.executors.cleanup import CleanupProcess, clear_up_after_others, temporary_folder
from orchestrator.executors.lean_start import lean_start
from orchestrator.executors.reachable import refuse_unreachable, token_hint
from orchestrator.executors.staging import Staging
from orchestrator.isolation import proc
from orchestrator.machine.environment import usable_cores
from orchestrator.util.files import PACKAGE
from orchestrator.util.quantities import MIB

LOOPBACK = "127.0.0.2"  # Ray rewrites 127.0.0.1 to the machine's outer address
OBJECT_STORE_BYTES = 128 * MIB
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_worker_niceness": "0",  # 15 by default, and trials would inherit it
}
# How a process shows Ray that it may talk to a Ray; see `_Token`.
AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_LOOK_S = 0.05
_IN_USE = threading.Lock()


@dataclass(frozen=True)
class RayOptions:
    """What a RayExecutor must know of the sweep.

    Attributes:
        device: "cpu", "cuda" or "auto": CUDA where any node has a GPU.
        address: of a running cluster; None: a Ray of our own on this machine, for this sweep only.
        gpus: GPUs of a slot, on CUDA.
        ranks: the most processes that a trial has.
        spread: whether the ranks of a trial are to be on different nodes.
        exclusive_node: whether a slot has its node alone.
        accelerator: the model of the nodes' GPUs; None: any.
        per_accelerator: each model has slots of its own, which run the attempts for it alone.
        wait_s: how long to wait for the first slot of a busy cluster.
        cpus: cores of a slot; None: an equal share of the node's.
        max_concurrent: the most slots.
        gpu_memory_gib: cap on a trial's share of a card, part of the environment.
        preload: modules that the fork servers import once.
        base_dir: the folder that relative paths of the sweep file start from.
        references: every `use` and `workload` of the sweep, for the files that must travel.
        files: other files that implementations read, absolute.
    """

    device: str = "auto"
    address: str | None = None
    gpus: int = 1
    ranks: int = 1
    spread: bool = False
    exclusive_node: bool = False
    accelerator: str | None = None
    per_accelerator: bool = False
    wait_s: float = 600.0
    cpus: int | None = None
    max_concurrent: int | None = None
    gpu_memory_gib: float | None = None
    preload: tuple[str, ...] = ()
    base_dir: str = "."
    references: frozenset[str] = frozenset()
    files: frozenset[Path] = frozenset()


class Session:
    """Open once constructed; `ray` is the module, connected.

    Ray starts on a thread of its own, so that a signal is handled meanwhile. The thread stays until
    the session is closed: the kernel ends Ray's servers with the thread that started them.

    Args:
        load: imports and returns ray.
        options: what the sweep needs.
        stopped: whether to give up starting; asked while the end is waited for, too, so that it may
            look to its signals: Ray's end gives SIGTERM its default effect.

    Attributes:
        staging: what travels to a cluster's nodes; None on a Ray of our own.

    Raises:
        UnfitMachineError: Ray cannot be started or reached, or another sweep of this process uses
            it.
        StartStoppedError: `stopped` said so.
    """

    def __init__(
        self, load: Callable[[], Any], options: RayOptions, stopped: Callable[[], bool]
    ) -> None:
        self.ray: Any = None
        self.staging: Staging | None = None
        self._options = options
        self._load = load
        self._stopped = stopped
        self._owned = False
        self._sentinel: CleanupProcess | None = None
        self._scratch: Path | None = None
        self._token = _Token()
        self._error: BaseException | None = None
        self._tried = threading.Event()  # Ray has started, or cannot
        self._over = threading.Event()  # the session is to be closed
        self._gone = threading.Event()  # Ray has ended
        if not _IN_USE.acquire(blocking=False):
            raise UnfitMachineError(
                "another sweep of this process is running, and a process has one Ray: wait for it, "
                "or run each sweep in a process of its own"
            )
        threading.Thread(target=self._hold, name="ray", daemon=True).start()
        while not self._tried.wait(_LOOK_S):
            if stopped():
                self._over.set()
                raise StartStoppedError("stopped while Ray was starting")
        self._raise_error_of_start()

    def close(self) -> None:
        """Leave Ray; our own is ended with all it started. A second call does nothing."""
        self._over.set()
        while not self._gone.wait(_LOOK_S):
            self._stopped()
        self._stopped()

    def _raise_error_of_start(self) -> None:
        """Raise here what the thread of Ray met, in words."""
        if self._error is None:
            return
        self.close()
        if isinstance(self._error, UnfitMachineError):
            raise self._error
        address = self._options.address
        what = f"Ray cannot be started on this machine: {self._error}"
        if address is not None:
            what = f"the Ray cluster at {address} lets nobody in: {self._error}; {token_hint()}"
        raise UnfitMachineError(what) from self._error

    def _hold(self) -> None:
        """The thread of Ray: connects, waits for the end of the session, disconnects."""
        try:
            self._connect()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error
        self._tried.set()
        self._over.wait()
        try:
            self._disconnect()
        finally:
            _IN_USE.release()
            self._gone.set()

    def _connect(self) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        local = self._options.address is None
        self.ray = self._load()
        if self.ray.is_initialized():
            self._join()
            return
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        if self._options.address is None:
            self._token.make(self.ray)
            arguments = self._local_arguments()
        else:
            refuse_unreachable(self._options.address)
            arguments = self._cluster_arguments()
        self._owned = True
        try:
            with lean_start(self.ray) if local else nullcontext():
                self.ray.init(
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    configure_logging=False,
                    **arguments,
                )
        finally:
            os.environ.pop(proc.DRIVER_MARK, None)
            self._token.hide()

    def _join(self) -> None:
        """Use the Ray that this process is connected to already, if that is the one asked for.

        Raises:
            UnfitMachineError: another address was asked for, or its nodes could not be sent the
                files of the sweep.
        """
        here = str(self.ray.get_runtime_context().gcs_address)
        wanted = self._options.address
        if wanted not in (None, "auto", here):
            raise UnfitMachineError(
                f"this process is connected to the Ray at {here} already: "
                f"call ray.shutdown() before a sweep on {wanted}"
            )
        hosts = {str(node["NodeManagerHostname"]) for node in self.ray.nodes() if node["Alive"]}
        others = sorted(hosts - {socket.gethostname()})
        if others:
            raise UnfitMachineError(
                f"this process is connected to the Ray at {here} already, too late to send the "
                f"sweep's files to {', '.join(others)}: call ray.shutdown() first, and give the "
                "address to the sweep"
            )

    def _disconnect(self) -> None:
        if self._owned:
            self.ray.shutdown()
        self._token.forget(self.ray)
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
            # Else Ray puts the current folder first on its workers' path, and a user's
            # orchestrator.py before ours. Ours may have been found by that very folder, which a
            # worker must be told.
            "job_config": self.ray.job_config.JobConfig(
                _client_job=True, _py_driver_sys_path=[str(PACKAGE.parent)]
            ),
        }

    def _cluster_arguments(self) -> dict[str, Any]:
        options = self._options
        self._scratch = temporary_folder(proc.mark())
        self.staging = Staging(
            self._scratch, options.base_dir, set(options.references), options.files
        )
        return {
            "address": self._options.address,
            "runtime_env": {"working_dir": str(self._scratch)},
        }


class _Token:
    """The token of our own Ray, which Ray's processes know from their start and nobody else.

    It is in this process's environment only while Ray starts. Ray itself keeps it in memory, where
    a second sweep of the process must not find the first one's.
    """

    def __init__(self) -> None:
        self._before: dict[str, str] | None = None

    def make(self, ray: Any) -> None:
        """Have the Ray that is about to start refuse whoever lacks a new token."""
        self._before = {}
        for name in AUTHENTICATION:
            if name in os.environ:
                self._before[name] = os.environ.pop(name)
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        _look_at_environment(ray)

    def hide(self) -> None:
        """Give the environment back what it held before."""
        if self._before is not None:
            for name in AUTHENTICATION:
                os.environ.pop(name, None)
            os.environ.update(self._before)

    def forget(self, ray: Any) -> None:
        """Have Ray look for a token again the next time it is asked to connect."""
        if self._before is not None:
            _look_at_environment(ray)


def _look_at_environment(ray: Any) -> None:
    """Have Ray read mode and token anew; it reads the mode when it is imported, and the token once.

    The mode first: a thread of Ray's that is still ending aborts the process if it is to have a
        token and finds none.
    """
    with suppress(AttributeError):  # a Ray that keeps none
        ray._raylet.Config.initialize("")
        ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
