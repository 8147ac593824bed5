"""Keeps a bounded part of what a trial prints: its beginning and its end."""

from __future__ import annotations

from collections import deque

from orchestrator.util.quantities import MIB

MAX_LOG_BYTES = 16 * MIB
_MARK_BYTES = 200


class BoundedOutput:
    """Keeps at most `limit` bytes: the first quarter, the last three quarters, and names the gap.

    What lies between is dropped as it arrives: the writer never waits, and no disk fills.
    """

    def __init__(self, limit: int = MAX_LOG_BYTES) -> None:
        self._limit = limit
        self._head_room = limit // 4
        self._tail_room = limit - self._head_room - _MARK_BYTES
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._total = 0

    def add(self, data: bytes) -> None:
        """Add what was printed next."""
        self._total += len(data)
        first = data[: self._head_room - len(self._head)]
        self._head += first
        rest = data[len(first) :]
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
        while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_room + _MARK_BYTES:
            self._tail_size -= len(self._tail.popleft())

    def value(self) -> bytes:
        """All of it, or its two ends with the gap named between them; at most `limit` bytes."""
        tail = b"".join(self._tail)
        if self._total <= self._limit:
            return bytes(self._head) + tail
        tail = tail[-self._tail_room :]
        left_out = self._total - len(self._head) - len(tail)
        mark = (
            f"\n[... {left_out} of {self._total} bytes left out: a log is kept up to {self._limit} "
            "bytes ...]\n"
        )
        return bytes(self._head) + mark.encode() + tail
