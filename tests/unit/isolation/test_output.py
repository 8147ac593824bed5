"""A log is kept whole up to its limit; beyond it, its two ends, and the gap is named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isolation.output import BoundedOutput

LIMIT = 1000
chunks = st.lists(st.binary(max_size=400), max_size=40)


@given(chunks)
def test_a_log_within_its_limit_is_whole_and_one_beyond_it_says_so(printed: list[bytes]) -> None:
    """However the output came in pieces."""
    capture = BoundedOutput(LIMIT)
    for piece in printed:
        capture.add(piece)
    everything, kept = b"".join(printed), capture.value()

    assert len(kept) <= LIMIT
    if len(everything) <= LIMIT:
        assert kept == everything
    else:
        assert b"left out" in kept
        assert str(len(everything)).encode() in kept


@given(chunks.map(lambda printed: [*printed, b"x" * 600, *printed, b"y" * 600]))
def test_both_ends_are_kept(printed: list[bytes]) -> None:
    """The beginning tells what ran, the end why it stopped."""
    capture = BoundedOutput(LIMIT)
    for piece in printed:
        capture.add(piece)
    everything, kept = b"".join(printed), capture.value()
    assert kept.startswith(everything[: LIMIT // 4])
    assert kept.endswith(everything[-LIMIT // 2 :])


def test_what_is_left_out_is_forgotten_as_it_goes_by() -> None:
    """The supervisor's memory does not grow with what a trial prints."""
    capture = BoundedOutput(LIMIT)
    for _ in range(1000):
        capture.add(b"x" * 500)
    assert capture._tail_size < 3 * LIMIT
