"""The command that serves the MLflow UI, as far as it goes without a server."""

from __future__ import annotations

import socket

import pytest

from orchestrator.trackers import ui


def test_a_taken_port_is_named_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    """With the address to look at, and the option that chooses another port; no line of a server's
    log.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert ui.main(["--port", str(port), "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert said.splitlines() == [
        f"error: port {port} of 127.0.0.1 is taken (by another UI?): open http://127.0.0.1:{port}, "
        f"or choose another port: --port {port + 1}"
    ]


@pytest.mark.parametrize("port", ["99999", "0"])
def test_a_port_that_is_none_is_refused_in_a_sentence(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by the socket's exception."""
    with pytest.raises(SystemExit) as ended:
        ui.main(["--port", port])
    assert ended.value.code == 2
    assert f"--port {port}: a port is 1 to 65535" in capsys.readouterr().err
