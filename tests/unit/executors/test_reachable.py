"""An address where nobody listens is refused at once: Ray itself would try for minutes."""

from __future__ import annotations

import socket

import pytest

from orchestrator.errors import UnfitMachineError
from orchestrator.executors.reachable import refuse_unreachable, token_hint


def test_an_address_where_nobody_listens_is_refused_by_name() -> None:
    """With what to look at next; one that listens is left to Ray, as `auto` is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        refuse_unreachable(address)
        refuse_unreachable(f"ray://{address}")
    with pytest.raises(UnfitMachineError, match=rf"nobody listens on {address}: .* head up"):
        refuse_unreachable(address)
    refuse_unreachable("auto")


@pytest.mark.parametrize("address", ["no host:1", "127.0.0.1:99999999"])
def test_what_is_no_address_is_refused_in_a_sentence(address: str) -> None:
    """And not by a traceback."""
    with pytest.raises(UnfitMachineError, match="does not answer"):
        refuse_unreachable(address)


def test_the_token_is_named_where_a_cluster_lets_nobody_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How one is given, or that it is not the right one."""
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    assert "export RAY_AUTH_MODE=token" in token_hint()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    assert "is the token the cluster's?" in token_hint()
