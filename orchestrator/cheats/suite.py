"""Runs every trick through the worker, each in a process of its own, and says which were caught."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.isolation.isolator import Isolator
from orchestrator.spec.models import MeasureProtocol, VerifySpec
from orchestrator.trial import Attempt, Resources, Trial

TIMEOUT_S = 120.0
CAUGHT, HARMLESS, MISSED, REFUSED, RIGHT = "caught", "harmless", "MISSED", "REFUSED", "right"


@dataclass(frozen=True)
class Trick:
    """One way to cheat.

    Attributes:
        name: of the build function in `tricks`.
        kind: what is cheated with, in the words of the table of docs/design/verifying.md.
        gains: whether the trick makes a figure better where it is not caught; else being ok is no
            harm.
        device: where it can be tried; empty: everywhere.
    """

    name: str
    kind: str
    gains: bool = True
    device: str = ""


TRICKS = (
    Trick("remembers_by_identity", "outputs kept by identity"),
    Trick("remembers_by_address", "outputs kept by address"),
    Trick("remembers_by_version", "outputs kept by version"),
    Trick("remembers_by_content", "outputs kept by content"),
    Trick("remembers_once_met_often", "outputs kept by content, once met often"),
    Trick("remembers_half", "half of each output kept by content"),
    Trick("first_output_for_ever", "the first output for ever"),
    Trick("right_at_first", "right for the first N calls"),
    Trick("wrong_now_and_then", "wrong now and then"),
    Trick("skips_in_bursts", "work skipped in bursts"),
    Trick("serves_all_sets_at_once", "one launch serves all inputs"),
    Trick("wrong_while_timed_by_the_collector", "the check told by the collector"),
    Trick("leaves_work_to_a_thread", "work left to a thread"),
    Trick("leaves_work_on_a_stream", "work left on a stream", device="cuda"),
    Trick("returns_a_lazy_tensor", "a lazy tensor"),
    Trick("leaves_a_mode_on", "a mode of torch left on"),
    Trick("stops_the_clock", "the clock replaced"),
    Trick("replaces_the_events", "events replaced", device="cuda"),
    Trick("replaces_the_comparison", "comparisons replaced"),
    Trick("lower_precision", "lower precision than asked"),
    Trick("leaves_the_tail", "a tail never written"),
    Trick("one_row_of_another", "one row wrong"),
    Trick("knows_its_shape", "the shape known by heart"),
    Trick("changes_the_input", "the input changed to fit"),
    Trick("counts_on_unit_variance", "special cases of the inputs used"),
    Trick("draws_the_inputs_again", "outputs prepared from the seed", gains=False),
    Trick("writes_its_own_result", "a result written over the pipe"),
)
NOT_TRIED = (
    "the key that results are signed with, searched for in memory: it is in the same process",
    "the harness's own modules rewritten, or its frames read: isolation protects trials from each "
    "other, not the harness from the code in its process",
    "L2 lines made persistent: cold figures would show it only beside another implementation's",
)


@dataclass(frozen=True)
class Tried:
    """How one trick went: caught, harmless, MISSED; of honest code right or REFUSED."""

    name: str
    kind: str
    result: str
    reason: str


def run(device: str) -> Iterator[Tried]:
    """Try honest code, then every trick that this device allows."""
    with Isolator() as isolator:
        yield _tried(isolator, Trick("honest", "honest code"), device, honest=True)
        for trick in TRICKS:
            if not trick.device or device.startswith(trick.device):
                yield _tried(isolator, trick, device, honest=False)


def as_text(found: Sequence[Tried]) -> str:
    """The table, and what cannot be tried."""
    from tabulate import tabulate

    rows = [(one.kind, one.result, one.reason[:90]) for one in found]
    missed = sum(one.result in (MISSED, REFUSED) for one in found)
    lines = [tabulate(rows, headers=["Trick", "Result", "Why"]), ""]
    lines.append(f"{len(found) - missed} of {len(found)} as they should be")
    lines += ["", "Not tried:", *(f"  {text}" for text in NOT_TRIED)]
    return "\n".join(lines)


def as_json(found: Sequence[Tried]) -> str:
    """The results as JSON."""
    return json.dumps({"tricks": [asdict(one) for one in found], "not_tried": NOT_TRIED}, indent=1)


def exit_code(found: Sequence[Tried]) -> int:
    """1 where a trick was missed or honest code refused."""
    return int(any(one.result in (MISSED, REFUSED) for one in found))


def _tried(isolator: Isolator, trick: Trick, device: str, *, honest: bool) -> Tried:
    record = isolator.run(attempt_of(trick.name, device)).record
    outcome = str(record.outcome)
    text = record.error.message if record.error else ", ".join(record.flags)
    reason = text.partition("\n")[0]
    if honest:
        return Tried(trick.name, trick.kind, RIGHT if outcome == "ok" else REFUSED, reason)
    if outcome != "ok":
        return Tried(trick.name, trick.kind, CAUGHT, f"{outcome}: {reason}")
    return Tried(trick.name, trick.kind, MISSED if trick.gains else HARMLESS, reason)


def attempt_of(name: str, device: str) -> Attempt:
    """The attempt that tries the build function `name` of `tricks`."""
    problem = Path(__file__).with_name("problem.py")
    trial = Trial.of(
        implementation=name,
        use=f"orchestrator.cheats.tricks:{name}",
        params={"rows": 64, "width": 512, "dtype": "float32"},
        options={},
    )
    return Attempt(
        sweep_id="cheats",
        trial=trial,
        workload=f"{problem}:WORKLOAD",
        base_dir=str(problem.parent),
        device=device,
        seed=0,
        salt="cheats",
        protocol=MeasureProtocol(
            warmup_s=0.01, min_time_s=0.05, max_time_s=0.3, min_repetitions=5, target_ci=0.05
        ),
        verify=VerifySpec(also=1),
        resources=Resources(gpus=1 if device.startswith("cuda") else 0, timeout_s=TIMEOUT_S),
    )
