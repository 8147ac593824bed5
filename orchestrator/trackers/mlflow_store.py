"""Makes and reaches the store of MLflow, asks it for experiments, and says what its errors mean.

This and `mlflow` are the modules that import mlflow. Import them late: it takes seconds.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",  # it disturbs timing
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # whoever calls tries again, and says so
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is the result's
    "GIT_PYTHON_REFRESH": "quiet",
}
for _name, _value in _SETTINGS.items():  # mlflow reads them when it is imported
    os.environ.setdefault(_name, _value)

# ruff: noqa: E402
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from orchestrator.results.meta import SweepMeta
from orchestrator.trackers import content
from orchestrator.trackers.address import database_of, view_url
from orchestrator.trackers.base import RejectedError, TrackingError
from orchestrator.trackers.saved_view import OVER_TIME
from orchestrator.trackers.saved_view import PREFIX as VIEW
from orchestrator.util.credentials import redacted, without_credentials

REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST"}


def experiment_id(uri: str, name: str) -> str | None:
    """The id of the experiment of that name; None where there is none.

    Raises:
        TrackingError: the store does not answer.
    """
    with explained(uri):
        found = connected(uri).get_experiment_by_name(name)
    return None if found is None else str(found.experiment_id)


def saved_views(uri: str, base: str) -> list[tuple[str, str]]:
    """(name of the sweep and its id, address of its view) of every saved view, newest sweep first.

    After the newest stands the view of its name's sweeps over time.

    Raises:
        TrackingError: the store does not answer.
    """
    with explained(uri):
        experiments = connected(uri).search_experiments()
    found = []
    for experiment in experiments:
        views = [tag.removeprefix(VIEW) for tag in experiment.tags if tag.startswith(VIEW)]
        found += [(sweep_id, experiment) for sweep_id in views if sweep_id != OVER_TIME]
    newest_first = sorted(found, key=lambda pair: pair[0], reverse=True)
    if newest_first:
        newest_first.insert(1, (OVER_TIME, newest_first[0][1]))
    named = []
    for sweep_id, experiment in newest_first:
        address = view_url(base, experiment.experiment_id, sweep_id)
        named.append((f"{experiment.name} {sweep_id}", address))
    return named


def connected(uri: str) -> MlflowClient:
    """A client of the store; an sqlite file that does not exist yet is made first."""
    database = database_of(uri)
    if database is None:
        return MlflowClient(tracking_uri=uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    place = database.parent / f".{database.name}.lock"
    with place.open("w") as lock:  # two that make one store at once lose all runs
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            _make(database)
        return MlflowClient(tracking_uri=uri)


def _make(database: Path) -> None:
    """Make a store under another name, then rename it: a killed driver must not leave half of one.

    Each try has a name of its own, for MLflow keeps its connections by name, also those to a file
    that is gone.
    """
    for rest in database.parent.glob(f".{database.name}.unfinished*"):
        rest.unlink()
    unfinished = database.with_name(f".{database.name}.unfinished-{secrets.token_hex(4)}")
    # With a write-ahead log readers (the UI) do not block the writer, and commits cost less.
    with closing(sqlite3.connect(unfinished)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL")
    let_go(MlflowClient(tracking_uri=f"sqlite:///{unfinished}"))
    unfinished.replace(database)


def let_go(client: MlflowClient) -> None:
    """Close its connections; the last one takes the write-ahead log into the database."""
    # MLflow has no call for it; a store that is no database has no engine
    tracking = getattr(client, "_tracking_client", None)
    engine = getattr(getattr(tracking, "store", None), "engine", None)
    if engine is not None:
        engine.dispose()


def experiment(client: MlflowClient, uri: str, meta: SweepMeta) -> str:
    """The id of the sweep's experiment, made or brought back where it is not there."""
    found = client.get_experiment_by_name(meta.name)
    if found is None:
        database, place = database_of(uri), None  # None: where the server puts it
        if database is not None:
            place = (database.parent / "artifacts" / meta.name).as_uri()
        with suppress(MlflowException):  # another driver may have been faster
            client.create_experiment(meta.name, place, content.experiment_tags(meta))
        found = client.get_experiment_by_name(meta.name)
    if found is None:
        raise TrackingError(
            f"{redacted(uri)} has no experiment {meta.name!r} and makes none: make it there"
        )
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Whatever a store raises, as one of our errors that names the store and the reason."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # stores raise what their libraries do: SQL, HTTP, files
        said = f"{redacted(uri)}: {without_credentials(_reason(error), uri)}"
        if isinstance(error, MlflowException) and error.error_code in REFUSALS:
            raise RejectedError(said) from error
        raise TrackingError(said) from error


def _reason(error: Exception) -> str:
    """What went wrong, without the library's layers around it."""
    said = " ".join(str(error).split())
    nested: list[str] = re.findall(
        r"\[Errno -?\d+\] [^'\")]+|(?:timed out|Read timed out)[^'\")]*", said
    )
    if nested:
        return nested[-1]
    return said[:300] or type(error).__name__
