"""Serves the MLflow UI: `orchestrator ui`, or `python -m orchestrator.trackers.ui [URI]`.

It opens the newest sweep's saved view, and ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException

from orchestrator.trackers.address import database_of, default_uri
from orchestrator.util.credentials import redacted

HOST = "127.0.0.1"
PORT = 5000
LARGEST_PORT = 65535
SHOWN = 5  # sweeps whose views are named
START_S = 120
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")  # without one Python opens a text browser here
QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # one process less: sweeps do not use it
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}


def command(uri: str, host: str = HOST, port: int = PORT) -> list[str]:
    """The server's command line: one worker, artifacts from the store's folder, errors only.

    The store itself is named by MLFLOW_BACKEND_STORE_URI: anyone may read a command line, and it
    may have a password.
    """
    server = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    server += ["--workers", "1", "--uvicorn-opts", "--log-level error"]
    database = database_of(uri)
    if database is not None:
        server += ["--artifacts-destination", str(database.parent / "artifacts")]
    return server


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the store if there is none yet, serve it until Ctrl-C; the exit code."""
    options = _options(arguments)
    uri = options.uri or default_uri()
    base = f"http://{options.host}:{options.port}"
    if not _is_free(options.host, options.port):
        sys.stderr.write(
            f"error: port {options.port} of {options.host} is taken (by another UI?): "
            f"open {base}, or choose another port: --port {options.port + 1}\n"
        )
        return 2
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri

    from orchestrator.trackers.mlflow import MlflowTracker
    from orchestrator.trackers.mlflow_store import saved_views

    MlflowTracker(uri).close()  # the server makes it without our lock
    sys.stderr.write(f"starting the MLflow UI of {redacted(uri)}\n")
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.default_int_handler)
    with tempfile.TemporaryFile() as output, suppress(KeyboardInterrupt):  # shown if it fails
        line = command(uri, options.host, options.port)
        server = subprocess.Popen(line, stdout=output, stderr=output, start_new_session=True)
        try:
            if _answers(options.host, options.port, server):
                _announce(saved_views(uri, base)[:SHOWN], base, options.browser)
                server.wait()
        finally:
            _end(server)
        output.seek(0)
        sys.stderr.write(
            f"error: the MLflow UI ended by itself:\n{output.read().decode(errors='replace')}\n"
        )
        return 1
    return 0


def _announce(views: Sequence[tuple[str, str]], base: str, opens: bool) -> None:
    """Name the newest sweeps' views, newest last, and open that one."""
    for name, address in reversed(views):
        sys.stderr.write(f"  {name}  {address}\n")
    sys.stderr.write(f"{base} is up; Ctrl-C ends it\n")
    if views and opens and any(os.environ.get(name) for name in DISPLAYS):
        webbrowser.open(views[0][1])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="orchestrator ui", description="Open the runs of all sweeps in the MLflow UI."
    )
    parser.add_argument(
        "uri", nargs="?", help="the store (default: sqlite under mlruns/ of the current directory)"
    )
    parser.add_argument(
        "--host", default=HOST, help="the interface to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=PORT, help="the port to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--no-browser",
        dest="browser",
        action="store_false",
        help="print the addresses, open nothing",
    )
    options = parser.parse_args(arguments)
    if not 0 < options.port <= LARGEST_PORT:
        parser.error(f"--port {options.port}: a port is 1 to {LARGEST_PORT}")
    return options


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _answers(host: str, port: int, server: subprocess.Popen[bytes]) -> bool:
    """Wait until the server answers; False: it ended, or START_S passed."""
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        with (
            suppress(OSError, HTTPException),
            closing(HTTPConnection(host, port, timeout=2)) as connection,
        ):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        time.sleep(0.2)
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """The server and its worker, which are a process group of their own."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signum)
        with suppress(subprocess.TimeoutExpired):
            server.wait(5)
            return


if __name__ == "__main__":
    sys.exit(main())
