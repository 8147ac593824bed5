"""The ranks of an attempt that runs on this node: how each is told which it is, and which of them ended the attempt."""

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

CORES = "ORCHESTRATOR_CORES"  # in an attempt's environment: the cores that it is pinned to
SETTLE_S = 2.0  # between the first rank that ends badly and the end of the others

# What a rank says whose neighbour went away: it is a victim.
_LEFT_ALONE = re.compile(
    r"connection (?:closed|reset|refused)|broken pipe|peer|remote process|NCCL|gloo|DistBackend|DistNetwork"
    r"|DistStore|collective|timed out", re.IGNORECASE,
)  # fmt: skip
_WAITS_IN = (b"torch/distributed/", b"torch/cuda/", b"orchestrator/worker/ranks.py", b"threading.py")
STOPPED = "Stopped"  # kind of the error of an attempt that was ended from outside
_CURRENT = b"Current thread"
_OF_ALL = (Outcome.MISMATCH, Outcome.IMPLAUSIBLE)  # what rank 0 finds of the whole is no rank's own


@dataclass(frozen=True)
class RankSpan:
    """Which ranks of an attempt run on a node.

    Attributes:
        first: the lowest.
        count: how many.
        world_size: of the attempt, over all nodes.
        rendezvous: "file://path", or "tcp://host:port" where there are several nodes; fresh for each attempt.
    """

    first: int
    count: int
    world_size: int
    rendezvous: str


@contextmanager
def on_one_node(world_size: int) -> Iterator[RankSpan]:
    """All ranks, which meet by a file that is gone when the block ends."""
    with TemporaryDirectory(prefix="ranks-") as folder:
        yield RankSpan(0, world_size, world_size, f"file://{Path(folder) / 'store'}")


def environments(span: RankSpan | None, env: Mapping[str, str], cores: Sequence[int] = ()) -> list[dict[str, str]]:
    """What each of the processes has in its environment beside the fork server's; one process where there is no span.

    With `cores` each is pinned to its share of them (`CORES`).

    Ranks see one card each, by the slot's CUDA_VISIBLE_DEVICES in `env`. RANK and its kin are named as by torchrun.
    NVLink multicast (NVLS) stays off unless the user turned it on: where the driver's fabric is not set up for it, the
    first collective fails. On one node no rank listens on anything but the loopback interface.
    """
    if span is None:
        return [{CORES: ",".join(map(str, cores))}] if cores else [{}]
    cards = [card for card in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if card]
    shared = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    if not span.rendezvous.startswith(("file", "tcp://127.")):
        shared = {}
    if cards:
        shared["NCCL_NVLS_ENABLE"] = env.get("NCCL_NVLS_ENABLE", "0")
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
        ended_at: when it said so, by time.monotonic().
        answered: whether it gave a record itself.
        killed: it was ended because another had ended badly.
        log: what it printed.
    """

    record: TrialRecord
    ended_at: float
    answered: bool
    killed: bool
    log: bytes


def joined(first_rank: int, world_size: int, ends: Sequence[RankEnd]) -> TrialRecord:
    """The record of the attempt: the first rank's if all are ok, else that of the rank which ended it, named.

    Which one that is: a rank that died before one that raised, one that raised before one whose neighbour left it
    alone, and among equals the earliest. Where all were ended from outside (timeout, memory), one that did not wait
    for the others, if that can be told.
    """
    bad = [number for number, end in enumerate(ends) if end.record.outcome is not Outcome.OK]
    if not bad:
        return ends[0].record
    culprit = min(bad, key=lambda number: (_guilt(ends[number]), ends[number].ended_at, number))
    record = ends[culprit].record
    waiting = [number for number in bad if waits_for_others(ends[number].log)]
    if record.outcome is Outcome.TIMEOUT and len(waiting) == len(bad):
        return record  # nobody can tell who kept them waiting
    if first_rank + culprit == 0 and record.outcome in _OF_ALL:
        return record
    error = record.error or ErrorInfo.of(str(record.outcome), "ended without a reason")
    named = error.model_copy(update={"message": f"rank {first_rank + culprit} of {world_size}: {error.message}"})
    return record.model_copy(update={"error": named, "metrics": None, "values_ms": None})


def joined_over_nodes(records: Sequence[TrialRecord]) -> TrialRecord:
    """The record of an attempt from those of the nodes that had its ranks, the first one's ranks first.

    Nodes that were stopped for the sake of another, or whose ranks were left alone, are not the cause of its end.
    """
    cards = tuple(card for record in records for card in record.cards)
    bad = [record for record in records if record.outcome is not Outcome.OK]
    found = min(bad, key=_guilt_of_node) if bad else records[0]
    return found.model_copy(update={"cards": cards})


def _guilt_of_node(record: TrialRecord) -> int:
    error = record.error
    if record.outcome is Outcome.LOST and error is not None and error.kind == STOPPED:
        return 3
    if record.outcome is Outcome.FAILED and error is not None and _LEFT_ALONE.search(f"{error.kind}: {error.message}"):
        return 2
    return 1 if record.outcome in (Outcome.FAILED, Outcome.TIMEOUT) else 0


def _guilt(end: RankEnd) -> int:
    """0 for the likeliest cause of the attempt's end."""
    if end.killed:
        return 4
    error = end.record.error
    text = f"{error.kind}: {error.message}" if error else ""
    if not end.answered:
        return 1 if end.record.outcome is Outcome.TIMEOUT and waits_for_others(end.log) else 0
    if end.record.outcome is Outcome.FAILED and _LEFT_ALONE.search(text):
        return 3
    return 2 if end.record.outcome is Outcome.FAILED else 1


def waits_for_others(log: bytes) -> bool:
    """Whether the last stack that a rank's log shows is one that waits for the other ranks, or for the device."""
    _, found, stack = log.rpartition(_CURRENT)
    if not found:
        return False
    frames = [line for line in stack.splitlines() if b'File "' in line][:4]
    return any(place in frame for place in _WAITS_IN for frame in frames)


def logs_joined(first_rank: int, world_size: int, logs: Sequence[bytes]) -> bytes:
    """What all ranks printed, one after the other, each under its name."""
    parts = []
    for number, log in enumerate(logs):
        end = b"" if not log or log.endswith(b"\n") else b"\n"
        parts.append(f"== rank {first_rank + number} of {world_size} ==\n".encode() + log + end)
    return b"".join(parts)


def logs_of_nodes(logs: Sequence[bytes]) -> bytes:
    """What the ranks of all nodes printed, the first ranks first; each node's log names its own."""
    return b"".join(logs)
