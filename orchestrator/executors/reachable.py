"""Whether anybody listens at a cluster's address: asked first, as Ray itself tries for minutes."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from orchestrator.errors import UnfitMachineError

PORT = 6379  # Ray's own
ANSWER_S = 5.0


def refuse_unreachable(address: str) -> None:
    """Connect once, and hang up.

    Args:
        address: HOST:PORT or ray://HOST:PORT; `auto` is left to Ray.

    Raises:
        UnfitMachineError: nobody listens there, or the host is not known or does not answer.
    """
    if address == "auto":
        return
    url = address if "://" in address else f"ray://{address}"
    parts = urlsplit(url)
    look = f"`orchestrator doctor --address {address}` looks closer"
    try:
        socket.create_connection((parts.hostname or "", parts.port or PORT), ANSWER_S).close()
    except ConnectionRefusedError as error:
        raise UnfitMachineError(
            f"nobody listens on {address}: is the cluster's head up? ({look})"
        ) from error
    except (OSError, ValueError) as error:
        raise UnfitMachineError(f"{address} does not answer: {error} ({look})") from error


def token_hint() -> str:
    """What to look at where a cluster that listens does not let us in."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return "is the token the cluster's? It has RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH here"
    return "where the cluster wants a token: export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=..."
