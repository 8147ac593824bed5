"""Messages between a supervisor and its fork server: length, JSON, and open files passed along; and
the signatures of what an attempt's process reports.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.util.quantities import MIB

_LENGTH = struct.Struct("!Q")
_MAX_FILES = 128  # two for each rank of an attempt; the kernel passes at most 253

Message = dict[str, Any]


def new_key() -> str:
    """A key for the reports of one attempt."""
    return secrets.token_hex(16)


class Signatures:
    """Signs the lines that one process reports, in their order, or checks them.

    An implementation runs in the same process and can write into the same pipe. A line that it
    writes there, or one of ours that it writes again, has no valid signature, and is stray output.
    """

    def __init__(self, key: str) -> None:
        self._key = bytes.fromhex(key)
        self._count = 0

    def signed(self, line: bytes) -> bytes:
        """The line, its signature before it."""
        found = self._signature(line)
        self._count += 1
        return found + b" " + line

    def checked(self, line: bytes) -> bytes | None:
        """The line without its signature; None: it is not the next one that was signed."""
        signature, _, text = line.partition(b" ")
        if not hmac.compare_digest(signature, self._signature(text)):
            return None
        self._count += 1
        return text

    def _signature(self, line: bytes) -> bytes:
        numbered = b"%d %s" % (self._count, line)
        return hashlib.blake2b(numbered, key=self._key, digest_size=16).hexdigest().encode()


def send(sock: socket.socket, message: Mapping[str, Any], files: Sequence[int] = ()) -> None:
    """Send a message, with copies of the open `files`.

    Raises:
        OSError: the connection is closed.
    """
    data = json.dumps(message).encode()
    frame = _LENGTH.pack(len(data)) + data
    sent = 0
    if files:
        sent = socket.send_fds(sock, [frame], list(files))
    sock.sendall(frame[sent:])


def receive(sock: socket.socket) -> tuple[Message, list[int]]:
    """The next message and its files, which programs started later do not inherit.

    Raises:
        EOFError: the other side is gone.
        OSError: the connection broke, or a message stayed incomplete for the socket's timeout.
    """
    head, files = b"", list[int]()
    while len(head) < _LENGTH.size:
        data, new, _, _ = socket.recv_fds(sock, _LENGTH.size - len(head), _MAX_FILES)
        for fd in new:
            os.set_inheritable(fd, False)
        if not data:
            raise EOFError("the connection is closed")
        head, files = head + data, files + new
    return json.loads(_exactly(sock, _LENGTH.unpack(head)[0])), files


def _exactly(sock: socket.socket, count: int) -> bytearray:
    data = bytearray()
    while len(data) < count:
        chunk = sock.recv(min(count - len(data), MIB))
        if not chunk:
            raise EOFError("the connection closed in mid-message")
        data += chunk
    return data
