"""Ranks of an attempt: what each is told, and which of them is named for the attempt's end."""

from __future__ import annotations

import pytest

from orchestrator.isolation.ranks import (
    RankEnd,
    RankSpan,
    environments,
    joined,
    logs_joined,
    on_one_node,
)
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, record_of, utc_now
from tests.support.attempts import attempt

STACK = b"""Current thread 0x00007f (most recent call first):
  File "%s", line 10 in wait
  File "/home/me/mine.py", line 3 in call
"""
IN_A_COLLECTIVE = STACK % b"/lib/torch/distributed/distributed_c10d.py"
IN_A_LOOP = STACK % b"/home/me/loop.py"


def end(
    outcome: Outcome, message: str = "", at: float = 0.0, *, answered=True, killed=False, log=b""
) -> RankEnd:
    error = ErrorInfo.of("RuntimeError", message) if outcome is not Outcome.OK else None
    record = record_of(attempt("right"), outcome, Phase.MEASURE, utc_now(), {}, error=error)
    return RankEnd(record, at, answered, killed, log)


def test_all_ranks_ok_is_the_first_ones_record():
    """It holds the figures of all."""
    ends = [end(Outcome.OK), end(Outcome.OK)]
    assert joined(0, 2, ends) is ends[0].record


@pytest.mark.parametrize(
    ("ends", "named", "outcome"),
    [
        ([end(Outcome.OK), end(Outcome.FAILED, "boom")], "rank 1 of 2: boom", "failed"),
        ([end(Outcome.FAILED, "first", 1.0), end(Outcome.FAILED, "second", 2.0)], "rank 0 of 2: first", "failed"),
        # A rank that died is the cause, and the one that says first that its neighbour left is not.
        (
            [
                end(Outcome.FAILED, "Connection closed by peer [127.0.0.1]", 1.0),
                end(Outcome.CRASHED, "died by SIGSEGV", 1.1, answered=False),
            ],
            "rank 1 of 2: died by SIGSEGV",
            "crashed",
        ),
        (
            [end(Outcome.FAILED, "NCCL error: remote process exited", 1.0), end(Outcome.FAILED, "boom", 1.5)],
            "rank 1 of 2: boom",
            "failed",
        ),
        # An out-of-memory is the cause of an exception beside it; who was ended for the sake of
        # another is not.
        ([end(Outcome.FAILED, "a", 1.0), end(Outcome.OOM, "b", 2.0)], "rank 1 of 2: b", "oom"),
        (
            [end(Outcome.CRASHED, "died by SIGKILL", 0.5, answered=False, killed=True), end(Outcome.MISMATCH, "off")],
            "rank 1 of 2: off",
            "mismatch",
        ),
    ],
)  # fmt: skip
def test_the_rank_that_ended_the_attempt_is_named(ends, named, outcome):
    """With its reason, whatever the others say in its wake."""
    record = joined(0, 2, ends)
    assert (record.error.message, record.outcome) == (named, outcome)


def test_of_a_hang_the_rank_that_waited_for_nobody_is_named():
    """Stacks tell: the others stand in a collective."""
    hung = [
        end(Outcome.TIMEOUT, "too long", answered=False, log=log)
        for log in (IN_A_COLLECTIVE, IN_A_LOOP)
    ]
    assert joined(0, 2, hung).error.message == "rank 1 of 2: too long"


def test_a_hang_in_which_all_wait_names_nobody():
    """One that never entered a collective cannot be told from those that did, where all stand in
    one.
    """
    hung = [end(Outcome.TIMEOUT, "too long", answered=False, log=IN_A_COLLECTIVE) for _ in range(2)]
    assert joined(0, 2, hung).error.message == "too long"


def test_each_rank_is_told_who_it_is_and_sees_its_own_card():
    """As by torchrun; on one node nothing listens beyond the loopback interface."""
    span = RankSpan(2, 2, 4, "file:///tmp/store")
    first, second = environments(span, {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"})
    assert (first["RANK"], second["RANK"], first["WORLD_SIZE"], second["LOCAL_RANK"]) == (
        "2",
        "3",
        "4",
        "1",
    )
    assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("GPU-a", "GPU-b")
    assert first["GLOO_SOCKET_IFNAME"] == first["NCCL_SOCKET_IFNAME"] == "lo"
    assert (
        "GLOO_SOCKET_IFNAME" not in environments(RankSpan(0, 1, 2, "tcp://10.0.0.1:29500"), {})[0]
    )


@pytest.mark.parametrize(("user", "nvls"), [({}, "0"), ({"NCCL_NVLS_ENABLE": "1"}, "1")])
def test_nvlink_multicast_is_off_unless_the_user_turned_it_on(user, nvls):
    """Where the fabric is not set up for it the first collective would fail."""
    told = environments(
        RankSpan(0, 1, 2, "file:///tmp/store"), {"CUDA_VISIBLE_DEVICES": "0", **user}
    )
    assert told[0]["NCCL_NVLS_ENABLE"] == nvls


def test_each_attempt_meets_at_a_place_of_its_own():
    """A store that an earlier attempt filled would let ranks of both meet."""
    with on_one_node(2) as one, on_one_node(2) as other:
        assert one.rendezvous != other.rendezvous


def test_logs_of_ranks_stand_one_after_the_other():
    """Each under its name."""
    assert logs_joined(0, 2, [b"a", b"b\n"]) == b"== rank 0 of 2 ==\na\n== rank 1 of 2 ==\nb\n"
