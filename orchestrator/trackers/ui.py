"""The MLflow UI of a store without a server: `python -m orchestrator.trackers.ui [URI] [--port N]`, or `make ui`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from orchestrator.trackers.address import database_of, default_uri

HOST = "127.0.0.1"
PORT = 5000


def command(uri: str, host: str = HOST, port: int = PORT) -> list[str]:
    """The server's command line: one worker, artifacts served from beside the store."""
    database = database_of(uri)
    artifacts = [] if database is None else ["--artifacts-destination", str(database.parent / "artifacts")]
    server = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    return [*server, "--workers", "1", *artifacts]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the store if there is none yet, then become the server."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.trackers.ui", description=__doc__)
    parser.add_argument("uri", nargs="?", help="the store (default: sqlite under mlruns/ of the current directory)")
    parser.add_argument("--host", default=HOST, help="the interface to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="the port to listen on (default: %(default)s)")
    options = parser.parse_args(arguments)
    uri = options.uri or default_uri()
    os.environ.setdefault(
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false"
    )  # a process more, for what sweeps have no use for

    from orchestrator.trackers.mlflow import MlflowTracker

    MlflowTracker(uri).close()  # the server would make it without our lock, beside a sweep that makes it too
    sys.stderr.write(f"http://{options.host}:{options.port} shows {uri}; Ctrl-C ends it\n")
    sys.stderr.flush()
    line = command(uri, options.host, options.port)
    os.execv(line[0], line)  # noqa: S606 - an argument list, and no shell: the server takes our place and our signals


if __name__ == "__main__":
    main()
