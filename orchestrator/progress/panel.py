"""One frame of the live display."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.text import Text

from orchestrator.formatting import duration, number, printable, roughly
from orchestrator.outcome import Outcome
from orchestrator.progress.gpus import Gpu
from orchestrator.progress.tally import Running, Tally, reason

MAX_SLOTS = 16
BAR = (8, 40)  # narrowest and widest
WIDEST = 100  # room for what a slot runs
PHASE_WIDTH = len("first call")
TIME_WIDTH = len("59:59")


def panel(
    name: str, tally: Tally, gpus: Mapping[int, Gpu], width: int = 80, height: int = 24
) -> Group:
    """Progress, then the counts, then a line per slot, then the last failures; at most `height` - 2
    lines.

    The columns are set by hand: Rich's tables measure every cell, which is five times the cost of a
    frame.
    """
    room = max(1, min(MAX_SLOTS, height - 6 - len(tally.failures)))
    lines = [_counts(tally), *_repeats(tally), *_slots(tally, gpus, width, room), *_failures(tally)]
    lines += _recent(tally, height - 5 - len(lines))
    return Group(
        *_progress(name, tally, width), Text("\n", no_wrap=True, overflow="ellipsis").join(lines)
    )


def _progress(name: str, tally: Tally, width: int) -> tuple[RenderableType, ...]:
    measured, left = tally.measured, tally.left_s()
    done = measured - len(tally.again) / 2  # a round that is measured once more is half done
    counts = f" {measured}/{tally.total} {int(100 * done) // max(1, tally.total)} %  "
    times = duration(tally.elapsed_s) + (
        ", measuring" if left is None else f", about {roughly(left)} left"
    )
    bar = min(BAR[1], width - 1 - len(counts) - len(times) - min(len(name), 24) - 1)
    head = Text.assemble(
        (printable(name)[:24], "bold"), " ", no_wrap=True, overflow="ellipsis", end=""
    )
    tail = Text.assemble(counts, (times, "dim"), no_wrap=True, overflow="ellipsis")
    if bar < BAR[0]:
        return head, tail
    return head, ProgressBar(total=max(1, tally.total), completed=done, width=bar), tail


def _counts(tally: Tally) -> Text:
    outcomes = tally.outcomes
    line = Text(f"✓ {outcomes.pop(str(Outcome.OK), 0)} ok", "green")
    for flag, count in tally.flags.most_common():
        line.append(f"  {count} {printable(flag)}", "yellow")
    for outcome, count in outcomes.most_common():
        line.append(f"  ✗ {count} {outcome}", "red")
    for cause, count in tally.waiting.most_common():
        line.append(f"  {count} {printable(cause)}, once more at the end", "cyan")
    return line


def _repeats(tally: Tally) -> Iterator[Text]:
    """Why so many rows are measured again, where that is so."""
    if tally.waiting["contended"]:
        yield Text(
            "contended: others use the cores or the GPU (`orchestrator doctor` shows who)", "yellow"
        )


def _recent(tally: Tally, room: int) -> Iterator[Text]:
    """The last rows that ended well, newest first."""
    good = [event for event in tally.recent if event.record.outcome is Outcome.OK]
    for event in good[: max(0, room)]:
        record = event.record
        line = Text(f"✓ {number((record.metrics or {}).get('latency_ms'))} ms  ", "dim green")
        line.append(tally.describe(event.attempt), "dim")
        yield (
            line.append(f"  {', '.join(map(printable, record.flags))}", "dim yellow")
            if record.flags
            else line
        )


def _slots(tally: Tally, gpus: Mapping[int, Gpu], width: int, room: int) -> Iterator[Text]:
    seen = {slot: str(gpu) for slot, gpu in gpus.items()}
    hardware = max(map(len, seen.values()), default=0)
    label = len(f"slot {max(tally.slots, default=0)}")
    gaps = 8 if hardware else 6
    middle = max(8, min(WIDEST, width - label - PHASE_WIDTH - TIME_WIDTH - hardware - gaps))
    for slot, running in sorted(tally.slots.items())[:room]:
        line = Text(f"{f'slot {slot}':<{label}}  ", "dim")
        line.append_text(_slot(tally, running, middle))
        yield line.append(f"  {seen.get(slot, ''):>{hardware}}", "dim") if hardware else line
    if len(tally.slots) > room:
        yield Text(f"and {len(tally.slots) - room} more slots", "dim")


def _slot(tally: Tally, running: Running | None, middle: int) -> Text:
    if running is None:
        return Text(f"{'idle':<{middle + PHASE_WIDTH + TIME_WIDTH + 4}}", "dim")
    what = tally.describe(running.attempt)
    if len(what) > middle:
        what = _shortened(tally.describe(running.attempt, briefly=True), middle)
    phase = str(running.phase or "start").replace("_", " ")
    seconds = _watch(tally.clock() - running.since)
    return Text.assemble(
        (f"{what:<{middle}}  ", "default"),
        (f"{phase:>{PHASE_WIDTH}}", "cyan"),
        f"  {seconds:>{TIME_WIDTH}}",
    )


def _watch(seconds: float) -> str:
    """As a stop watch shows it: `0:06`, `12:30`, `100:00`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _failures(tally: Tally) -> Iterator[Text]:
    for event in tally.failures:
        line = Text(f"✗ {event.record.outcome} ", "red")
        line.append(tally.describe(event.attempt), "default")
        yield line.append(f": {reason(event.record)}", "dim")
