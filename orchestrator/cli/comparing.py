"""`compare`: two sweeps, two sides measured now in turns, or two implementations in one process."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.options import place, refuse
from orchestrator.errors import ComparisonError, RequestError
from orchestrator.util.credentials import masked

if TYPE_CHECKING:
    from orchestrator.compare.again import Side
    from orchestrator.compare.comparison import Comparison
    from orchestrator.plan.sweep import Sweep
    from orchestrator.results.results import Results


def compare(options: argparse.Namespace) -> int:
    """Compare two sweeps, or measure two implementations interleaved."""
    if options.duel != (options.sweep is not None):
        raise RequestError(
            "compare takes BASE and CANDIDATE, and with --duel the sweep file with both labels "
            "as third"
        )
    if options.duel and options.candidate is None:
        raise RequestError("compare --duel takes two labels and the sweep file that has both")
    if options.duel:
        others = ("again", "same_machine", "same_code", "force")
        why = (
            "does nothing with --duel, which measures both labels of one sweep file in one process"
        )
        refuse(options, others, why)
        return _duel(options)
    if options.again:
        others = ("same_machine", "resume", "rerun", "address")
        why = "does nothing with --again, which measures BASE and CANDIDATE anew on this machine"
        refuse(options, others, why)
        return _again(options)
    refuse(
        options,
        ("overrides", "only", "output", "resume", "rerun", "address", "tracking_uri", "device"),
        "is an option of run, and compare of two sweeps measures nothing: it goes with --duel "
        "or --again",
    )
    from orchestrator.compare.comparison import compare
    from orchestrator.report.comparing import comparison_formats

    base, candidate = _both(options)
    found = compare(base, candidate, force=options.force, fail_slower=options.fail_slower)
    found = _demanded(found, options)
    print(comparison_formats.render(found, options.format))
    return found.exit_code


def _both(options: argparse.Namespace) -> tuple[Results, Results]:
    """The two sweeps; of one name the newest, and the one before it."""
    from orchestrator.compare.baseline import newest_alike
    from orchestrator.results import lookup
    from orchestrator.results.sweep_directory import load

    if options.same_machine:
        if options.candidate is not None:
            raise RequestError("--same-machine looks for the base itself: give the candidate alone")
        candidate = load(lookup.find(options.base))
        return newest_alike(candidate), candidate
    if options.candidate is None:
        newest = lookup.find(options.base)
        return load(lookup.before(newest)), load(newest)
    return load(lookup.find(options.base)), load(lookup.find(options.candidate))


def _demanded(found: Comparison, options: argparse.Namespace) -> Comparison:
    """The comparison, held against what else it is to fail on.

    Raises:
        ComparisonError: a side would be compared with itself.
    """
    from orchestrator.compare.demands import Demands, refuse_same_code

    if not options.same_code:
        refuse_same_code(found)
    asked = Demands(options.fail_unclear, options.fail_memory, options.fail_error)
    return asked.held_against(found)


def _again(options: argparse.Namespace) -> int:
    """Measure both sides of a comparison now, in turns."""
    from datetime import datetime

    from orchestrator.compare import again
    from orchestrator.report.comparing import comparison_formats
    from orchestrator.spec import loading

    if options.candidate is None:
        raise RequestError("compare --again takes two sweeps or sweep files: BASE and CANDIDATE")
    base, candidate = again.Side.of(options.base), again.Side.of(options.candidate)
    loaded = _loaded(base, candidate, options)
    if loaded is not None and not options.same_code:
        _refuse_same_files(base, candidate, loaded)
    spec, _ = loading.read(base.file, options.overrides)
    looks: Sequence[int] = again.LOOKS
    if "repeats" in spec.measure.model_fields_set and spec.measure.repeats > 1:
        looks = (spec.measure.repeats,)  # what the file states is looked at once, at its end
    folder = Path("mlruns", "again", f"{datetime.now():%Y%m%d_%H%M%S}").resolve()
    if options.output:
        folder = Path(options.output).resolve()
    found = _in_one_process((base, candidate), loaded, looks, folder, options)
    if found is None:
        found = _in_rounds(base, candidate, looks, folder, options)
    found = _demanded(found, options)
    comparison_formats.write(found, folder)
    print(comparison_formats.render(found, options.format))
    return found.exit_code


def _in_one_process(
    sides: tuple[Side, Side],
    loaded: tuple[Sweep, Sweep] | None,
    looks: Sequence[int],
    folder: Path,
    options: argparse.Namespace,
) -> Comparison | None:
    """Both sides measured in turns of milliseconds; None: one process cannot hold them, which is
    said.
    """
    from orchestrator import api
    from orchestrator.compare import one_process

    if options.fail_memory is not None:
        why: str | None = "--fail-memory asks for what either takes by itself"
    elif loaded is None:
        why = "each has an interpreter of its own"
    else:
        why = one_process.why_apart(sides, loaded)
    if loaded is None or why is not None:
        _tell(f"measuring round by round, each in its own checkout: {why}", options)
        return None
    was, now = loaded
    differing = one_process.differing(was, now)
    labels, left = [], []
    for label in dict.fromkeys(trial.implementation for trial in was.trials):
        if options.same_code or label in differing:
            labels.append(label)
        else:
            left.append(label)
    if not labels:
        raise RequestError("nothing to compare: no row that is asked for has another code")
    also = ""
    if left:
        also = f"; with the same code on both sides and left out: {', '.join(left)}"
    _tell(f"measuring {', '.join(labels)} of both in one process, in turns{also}", options)
    found = []
    for number, label in enumerate(labels, start=1):

        def run(sweep: Sweep, resume: bool, number: int = number) -> Results:
            return api.run(sweep, output=folder / str(number), resume=resume, **place(options))

        sweep = one_process.in_turns(was, now, label)
        tell = partial(_tell, options=options)
        found.append(one_process.measured(sweep, looks, options.fail_slower, run, tell))
    return one_process.judge(sides, found, len(looks), options.fail_slower)


def _in_rounds(
    base: Side,
    candidate: Side,
    looks: Sequence[int],
    folder: Path,
    options: argparse.Namespace,
) -> Comparison:
    """Both sides measured round by round, each by its own checkout."""
    from orchestrator.compare import again

    arguments: list[str] = []
    for override in options.overrides:
        arguments += ["-S", override]
    if options.only:
        arguments += ["--only", options.only]
    if options.tracking_uri:  # anyone may read a command line, so a log-in goes by the environment
        os.environ["MLFLOW_TRACKING_URI"] = options.tracking_uri
        arguments += ["--tracking-uri", masked(options.tracking_uri)]
    if options.device != "auto":
        arguments += ["--device", options.device]
    return again.measure(
        base,
        candidate,
        looks,
        folder,
        arguments,
        force=options.force,
        fail_slower=options.fail_slower,
        tell=partial(_tell, options=options),
    )


def _tell(line: str, options: argparse.Namespace) -> None:
    """A line on standard error, unless everything is to be quiet."""
    if not options.quiet:
        print(line, file=sys.stderr)


def _loaded(base: Side, candidate: Side, options: argparse.Namespace) -> tuple[Sweep, Sweep] | None:
    """Both sweeps as this process reads them; None: the sides run in two environments, and what is
    installed there shows when they are measured.
    """
    from orchestrator.plan.sweep import Sweep

    # A virtual environment's interpreter is a link, and so may be the environment.
    if Path(base.python).parent.resolve() != Path(candidate.python).parent.resolve():
        return None
    was = Sweep.load(base.file, options.overrides, options.only)
    now = Sweep.load(candidate.file, options.overrides, options.only)
    return was, now


def _refuse_same_files(base: Side, candidate: Side, loaded: tuple[Sweep, Sweep]) -> None:
    """Refuse two checkouts that are one, before an hour is spent on them.

    Raises:
        ComparisonError: both run by one interpreter, and the code of every implementation that
            both have is the same.
    """
    from orchestrator.compare.one_process import imported_by_name
    from orchestrator.plan.sources import sources

    roots = (base.root, candidate.root)
    if any(imported_by_name(sweep, roots) is not None for sweep in loaded):
        return  # by that name either finds its own when it runs, and this process one for both
    was, now = sources(loaded[0]), sources(loaded[1])
    both = was.keys() & now.keys()
    if both and all(was[label].hash == now[label].hash for label in both):
        raise ComparisonError(
            f"{base.file} and {candidate.file} have the same code: implementation sources and "
            "installed packages are the same, so that a difference would be the machine's. To see "
            "how much that is, compare them with --same-code"
        )


def _duel(options: argparse.Namespace) -> int:
    from orchestrator import api
    from orchestrator.cli import sweep_argument
    from orchestrator.compare import duel

    loaded = sweep_argument.load(options.sweep, options.overrides, options.only)
    sweep = duel.prepare(loaded, options.base, options.candidate)
    results = api.run(sweep, output=options.output, resume=options.resume, **place(options))
    return show_duel(results, options.fail_slower, options.format, options)


def show_duel(
    results: Any,
    fail_slower: float | None,
    form: str,
    demands: argparse.Namespace | None = None,
) -> int:
    """A regression, as of compare; and 1, as of run, where a row of either side is not ok."""
    from orchestrator.compare import duel
    from orchestrator.compare.demands import Demands
    from orchestrator.report.comparing import comparison_formats

    found = duel.judge(results, fail_slower)
    if demands is not None:
        asked = Demands(demands.fail_unclear, demands.fail_memory, demands.fail_error)
        found = asked.held_against(found)
    comparison_formats.write(found, results.directory)
    print(comparison_formats.render(found, form))
    return max(found.exit_code, 0 if results.all_ok else 1)
