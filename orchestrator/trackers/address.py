"""Names where runs are kept and where a person looks at them: URIs, without the library behind
them.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from orchestrator.trackers.base import TrackingError
from orchestrator.util.credentials import is_masked, redacted

UI = "http://127.0.0.1:5000"
_SQLITE = "sqlite:///"


def default_uri() -> str:
    """An sqlite file under mlruns/ of the current directory, absolute."""
    return f"{_SQLITE}{Path.cwd() / 'mlruns' / 'mlflow.db'}"


def with_login(uri: str | None) -> str:
    """The address to connect to; None: the default store.

    A sweep's files keep an address without its log-in: then the variable MLFLOW_TRACKING_URI may
    give it whole.

    Raises:
        TrackingError: nobody does.
    """
    if uri is None or not is_masked(uri):
        return uri or default_uri()
    whole = os.environ.get("MLFLOW_TRACKING_URI")
    if whole is None:
        raise TrackingError(
            f"{uri} was kept without its log-in: "
            "give it whole by --tracking-uri or the variable MLFLOW_TRACKING_URI"
        )
    return whole


def database_of(uri: str) -> Path | None:
    """The file of an sqlite URI, absolute; None for any other URI."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE)).absolute()


def view_url(uri: str, experiment_id: str, sweep_id: str) -> str:
    """The UI's address of one sweep's trials; of a store without a server, by `orchestrator ui`."""
    base = redacted(uri).rstrip("/") if uri.startswith("http") else UI
    query = f"viewStateShareKey={quote(sweep_id)}&workflowType=machine_learning"
    return f"{base}/#/experiments/{experiment_id}/runs?{query}"


def ui_command(uri: str) -> str | None:
    """What opens the UI of a store without a server; None where the address answers by itself."""
    if uri.startswith("http"):
        return None
    if uri == default_uri():
        return "orchestrator ui"
    return f"orchestrator ui {redacted(uri)}"
