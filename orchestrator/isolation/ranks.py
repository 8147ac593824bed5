"""The ranks of an attempt on this node: each one's environment, and which one ended it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.outcome import Outcome
from orchestrator.record import ErrorInfo, TrialRecord
from orchestrator.trial import RENDEZVOUS

CORES = "ORCHESTRATOR_CORES"  # an attempt's variable: the cores that it is pinned to
# What is set for trials on GPUs where the user has not: NVLink multicast off; see `environments`.
SET_ON_CUDA = {"NCCL_NVLS_ENABLE": "0"}
SETTLE_S = 2.0  # between the first rank that ends badly and the end of the others

# In the error of a rank that lost its peer: it is not the cause.
_PEER_LOST = re.compile(
    r"connection (?:closed|reset|refused)|broken pipe|peer|remote process|NCCL|gloo"
    r"|DistBackend|DistNetwork|DistStore|collective|timed out",
    re.IGNORECASE,
)
_WAITS_IN = (
    b"torch/distributed/",
    b"torch/cuda/",
    b"orchestrator/worker/distributed/ranks.py",
    b"threading.py",
)
STOPPED = "Stopped"  # the error's kind if an attempt was ended from outside
_CURRENT = b"Current thread"
_OF_ALL = (Outcome.MISMATCH, Outcome.IMPLAUSIBLE)  # rank 0 finds these of the whole attempt


@dataclass(frozen=True)
class RankSpan:
    """Which ranks of an attempt run on a node.

    Attributes:
        first: the lowest.
        count: how many.
        world_size: of the attempt, over all nodes.
        rendezvous: where the ranks meet, fresh for each attempt: "file://path"; over several nodes
            "tcp://host:port".
    """

    first: int
    count: int
    world_size: int
    rendezvous: str


@contextmanager
def on_one_node(world_size: int) -> Iterator[RankSpan]:
    """The span of all ranks. They meet by a file, which is removed when the block ends."""
    with TemporaryDirectory(prefix="ranks-") as folder:
        yield RankSpan(0, world_size, world_size, f"file://{Path(folder) / 'store'}")


def environments(
    span: RankSpan | None, env: Mapping[str, str], cores: Sequence[int] = ()
) -> list[dict[str, str]]:
    """Each process's variables besides the fork server's; one process if there is no span.

    With `cores` each is pinned to its share of them (`CORES`).

    Each rank sees one card, by the slot's CUDA_VISIBLE_DEVICES in `env`. RANK and the others have
    torchrun's names. NVLink multicast (NVLS) stays off unless the user turned it on: if the
    driver's fabric is not set up for it, the first collective fails. On one node ranks listen on
    the loopback interface only.
    """
    if span is None:
        return [{CORES: ",".join(map(str, cores))}] if cores else [{}]
    cards = [card for card in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if card]
    shared = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    if not span.rendezvous.startswith(("file", "tcp://127.")):
        shared = {}
    if cards:
        shared |= {name: env.get(name, value) for name, value in SET_ON_CUDA.items()}
    found = []
    for local in range(span.count):
        rank = {
            "RANK": str(span.first + local),
            "WORLD_SIZE": str(span.world_size),
            "LOCAL_RANK": str(local),
            "LOCAL_WORLD_SIZE": str(span.count),
            RENDEZVOUS: span.rendezvous,
        }
        if len(cores) >= span.count:
            share = len(cores) // span.count
            rank[CORES] = ",".join(map(str, cores[local * share : (local + 1) * share]))
        if local < len(cards):
            rank["CUDA_VISIBLE_DEVICES"] = cards[local]
        found.append({**shared, **rank})
    return found


@dataclass(frozen=True)
class RankEnd:
    """How one rank ended.

    Attributes:
        record: its own.
        ended_at: when it answered or exited, by time.monotonic().
        answered: whether it returned a record itself.
        killed: whether it was ended because another had ended badly.
        log: what it printed.
    """

    record: TrialRecord
    ended_at: float
    answered: bool
    killed: bool
    log: bytes


def joined(first_rank: int, world_size: int, ends: Sequence[RankEnd]) -> TrialRecord:
    """The record of the attempt: the first rank's if all are ok, else the culprit's, with its rank.

    The culprit is the rank that most likely ended the attempt: one that died, else one that raised,
    else one that lost its peer; among equals the earliest. If all were ended from outside (timeout,
    memory), it is one whose stack does not wait for the others, if there is one.
    """
    bad = [number for number, end in enumerate(ends) if end.record.outcome is not Outcome.OK]
    if not bad:
        return ends[0].record
    culprit = min(bad, key=lambda number: (_guilt(ends[number]), ends[number].ended_at, number))
    record = ends[culprit].record
    waiting = [number for number in bad if waits_for_others(ends[number].log)]
    if record.outcome is Outcome.TIMEOUT and len(waiting) == len(bad):
        return record  # every rank waits: none of them is known to be the cause
    if first_rank + culprit == 0 and record.outcome in _OF_ALL:
        return record
    error = record.error or ErrorInfo.of(str(record.outcome), "ended without a reason")
    named = error.model_copy(
        update={"message": f"rank {first_rank + culprit} of {world_size}: {error.message}"}
    )
    return record.model_copy(update={"error": named, "metrics": None, "values_ms": None})


def joined_over_nodes(records: Sequence[TrialRecord]) -> TrialRecord:
    """The record of an attempt from those of its nodes, the first one's ranks first.

    A node that was stopped because of another, or whose ranks lost their peers, is not the cause of
    the attempt's end.
    """
    cards: list[str] = []
    for record in records:
        cards.extend(record.cards)
    found = records[0]
    bad = [record for record in records if record.outcome is not Outcome.OK]
    if bad:
        found = min(bad, key=_guilt_of_node)
    return found.model_copy(update={"cards": tuple(cards)})


def _guilt_of_node(record: TrialRecord) -> int:
    """0 for the likeliest cause of the attempt's end."""
    if record.outcome is Outcome.LOST and record.error is not None and record.error.kind == STOPPED:
        return 3
    if _lost_peer(record):
        return 2
    if record.outcome in (Outcome.FAILED, Outcome.TIMEOUT):
        return 1
    return 0


def _lost_peer(record: TrialRecord) -> bool:
    """Whether the record's error reads as if another rank had gone away."""
    if record.outcome is not Outcome.FAILED or record.error is None:
        return False
    return _PEER_LOST.search(f"{record.error.kind}: {record.error.message}") is not None


def _guilt(end: RankEnd) -> int:
    """0 for the likeliest cause of the attempt's end."""
    if end.killed:
        return 4
    if not end.answered:
        timed_out = end.record.outcome is Outcome.TIMEOUT
        return 1 if timed_out and waits_for_others(end.log) else 0
    if _lost_peer(end.record):
        return 3
    return 2 if end.record.outcome is Outcome.FAILED else 1


def waits_for_others(log: bytes) -> bool:
    """Whether the last stack in a rank's log waits for the other ranks or for the device."""
    _, found, stack = log.rpartition(_CURRENT)
    if not found:
        return False
    frames = [line for line in stack.splitlines() if b'File "' in line][:4]
    top = b"\n".join(frames)
    return any(place in top for place in _WAITS_IN)


def logs_joined(first_rank: int, world_size: int, logs: Sequence[bytes]) -> bytes:
    """The logs of all ranks, one after the other, each under its name."""
    parts = []
    for number, log in enumerate(logs):
        end = b"" if not log or log.endswith(b"\n") else b"\n"
        head = f"== rank {first_rank + number} of {world_size} ==\n"
        parts.append(head.encode() + log + end)
    return b"".join(parts)


def logs_of_nodes(logs: Sequence[bytes]) -> bytes:
    """The logs of all nodes, the first ranks first; each node's log names its ranks."""
    return b"".join(logs)
