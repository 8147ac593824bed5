"""What a trial printed, drained as it comes and kept within bounds: its beginning and its end."""

from __future__ import annotations

from collections import deque

MAX_LOG_BYTES = 16 * 2**20
_MARK_BYTES = 200


class BoundedOutput:
    """Keeps at most `limit` bytes of all that is added, the first quarter and the last three, and names the gap.

    The writer never waits for it and no disk fills: what lies between is forgotten as it goes by.
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
        """Take what was printed next."""
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
        mark = f"\n[... {left_out} of {self._total} bytes left out: a log is kept up to {self._limit} bytes ...]\n"
        return bytes(self._head) + mark.encode() + tail
