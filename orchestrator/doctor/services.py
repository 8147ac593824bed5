"""Checks whether the tracking server and the Ray cluster answer, within a bounded time."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.doctor import cluster
from orchestrator.doctor.finding import Finding
from orchestrator.trackers.address import database_of, default_uri
from orchestrator.util.credentials import redacted

ANSWER_S = 3.0
RAY_PORT = 6379


def tracking(uri: str | None) -> Finding:
    """Whether runs can be written at `uri`; None: sqlite under mlruns/."""
    uri = uri or default_uri()
    if database_of(uri) is not None:
        return _store(Path(str(database_of(uri))))
    if not uri.startswith(("http://", "https://")):
        return Finding("tracking", "ok", f"{redacted(uri)}: taken as it is, not tried")
    advice = "start it, or go without: results stay in the journal, and sync writes the runs later"
    health = f"{uri.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(health, timeout=ANSWER_S) as answer:  # noqa: S310 - http(s) only
            return Finding("tracking", "ok", f"{redacted(uri)} answers ({answer.status})")
    except urllib.error.HTTPError as error:  # it is there; servers behind a log-in refuse /health
        text = f"{redacted(uri)} answers {error.code}"
        return Finding("tracking", "warn", text, "check the address and the log-in")
    except (OSError, ValueError) as error:
        text = f"{redacted(uri)} does not answer: {_reason(error)}"
        return Finding("tracking", "warn", text, advice)


def ray(address: str | None) -> list[Finding]:
    """Whether Ray is there: the package for a Ray of our own, the cluster where an address or
    RAY_ADDRESS names one.

    A cluster that accepts connections is asked what its nodes are.
    """
    found = _ray(address)
    address = address or os.environ.get("RAY_ADDRESS")
    if found.state != "ok" or not address or address == "local":
        return [found]
    return [found, *cluster.nodes(address)]


def _ray(address: str | None) -> Finding:
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        return Finding("ray", "bad", "not installed", "make setup")
    address = address or os.environ.get("RAY_ADDRESS")
    if not address or address == "local":
        return Finding("ray", "ok", f"Ray {version}, started by the run itself")
    if address == "auto":
        text = "address auto joins whatever cluster is found"
        return Finding("ray", "warn", text, "name it: HOST:PORT")
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        place = (parts.hostname or "", parts.port or RAY_PORT)  # a port that is none raises
        with socket.create_connection(place, timeout=ANSWER_S):
            return Finding("ray", "ok", f"{address} accepts connections; Ray {version} here")
    except (OSError, ValueError) as error:
        text = f"{address} does not answer: {_reason(error)}"
        return Finding("ray", "bad", text, "start the cluster, or leave --address out")


def _store(database: Path) -> Finding:
    folder = next(folder for folder in database.parents if folder.exists())
    if not os.access(folder, os.W_OK):
        advice = "name another store with --tracking-uri"
        return Finding("tracking", "warn", f"{folder} cannot be written", advice)
    if database.exists():
        return Finding("tracking", "ok", str(database))
    return Finding("tracking", "ok", f"{database}, made by the first sweep")


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    return str(getattr(cause, "strerror", None) or cause)
