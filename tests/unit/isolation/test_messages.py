"""Messages arrive whole and in order, with the files that were sent beside them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.isolation import messages

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=4)
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@given(st.dictionaries(st.text(), values, max_size=5))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_message_arrives_as_it_was_sent(
    pair: tuple[socket.socket, socket.socket], message: messages.Message
) -> None:
    """Any JSON object."""
    messages.send(pair[0], message)
    assert messages.receive(pair[1]) == (message, [])


def test_messages_larger_than_any_buffer_arrive_whole(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """An attempt's options may be long."""
    message = {"run": "x" * 5_000_000}
    sender = threading.Thread(target=messages.send, args=(pair[0], message))
    sender.start()
    assert messages.receive(pair[1]) == (message, [])
    sender.join()


def test_files_travel_with_their_message(pair: tuple[socket.socket, socket.socket]) -> None:
    """The copy is another number for the same pipe, and programs started later do not inherit it."""
    read, write = os.pipe()
    messages.send(pair[0], {"n": 1}, [write])
    os.close(write)
    message, (copy,) = messages.receive(pair[1])
    os.write(copy, b"hello")
    assert (message, os.read(read, 5), os.get_inheritable(copy)) == ({"n": 1}, b"hello", False)
    os.close(read)
    os.close(copy)


def test_a_closed_connection_is_told_from_a_message(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Between messages and in the midst of one."""
    pair[0].sendall(b"\0\0\0\0\0\0\0\x09{")
    pair[0].close()
    with pytest.raises(EOFError):
        messages.receive(pair[1])
    with pytest.raises(EOFError):
        messages.receive(pair[1])


def test_lines_are_taken_in_the_order_in_which_they_were_signed() -> None:
    """One that was not signed, or signed by another, or sent twice, or left out, is none."""
    key = messages.new_key()
    ours, theirs = messages.Signatures(key), messages.Signatures(key)
    first, second, third = (ours.signed(line) for line in (b"one", b"two", b"three words here"))
    assert theirs.checked(b"one") is None
    assert theirs.checked(messages.Signatures(messages.new_key()).signed(b"one")) is None
    assert theirs.checked(first.replace(b"one", b"two")) is None
    assert theirs.checked(b"") is None
    assert theirs.checked(first) == b"one"
    assert theirs.checked(first) is None
    assert theirs.checked(third) is None
    assert theirs.checked(second) == b"two"
    assert theirs.checked(third) == b"three words here"
