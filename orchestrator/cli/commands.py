"""What each command does: call the library, print the result, return the exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from orchestrator.credentials import masked
from orchestrator.errors import RequestError


def init(options: argparse.Namespace) -> int:
    """Write the starter files; print what to do with them."""
    from orchestrator.cli import starter

    print(starter.next_steps(starter.init(options.directory, options.workload)))
    return 0


def adopt(options: argparse.Namespace) -> int:
    """Write a sweep over somebody's problems; print what was found."""
    from orchestrator.cli import adopt as adopting

    file, found = adopting.adopt(options.path, options.output)
    print(
        f"{found}\nwrote {file}\nNext:\n  python -m orchestrator plan {file}\n  python -m orchestrator {file}"
    )
    return 0


def completion(options: argparse.Namespace) -> int:
    """Print the completion script of a shell."""
    from orchestrator.cli.completion import script

    print(script(options.parser, options.shell))
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a sweep; print its table, or JSON."""
    from orchestrator import api
    from orchestrator.plan.sweep import Sweep

    _check_columns(options)
    overrides = [
        *options.overrides,
        *(["measure.profile=true"] if getattr(options, "profile", False) else []),
        *(["reuse=true"] if getattr(options, "reuse", False) else []),
    ]
    if getattr(options, "reuse", False) and options.rerun is not None:
        raise RequestError("--rerun measures rows again, and --reuse measures none twice: give one")
    sweep = Sweep.load(options.sweep, overrides, options.only)
    shown: list[int] = []
    results = api.run(
        sweep, output=options.output, resume=options.resume, **_place(options),
        on_results=lambda found: shown.append(_show(found, options)),
    )  # fmt: skip
    return shown[0] if shown else _show(results, options)


def demo(options: argparse.Namespace) -> int:
    """Run a sweep that came with the package."""
    from orchestrator.cli.demo import sweep_file

    options.sweep = str(sweep_file(options.sweep))
    return run(options)


def try_(options: argparse.Namespace) -> int:
    """Verify and time one implementation in this process."""
    from orchestrator.cli import try_one, try_target
    from orchestrator.machine import nvml

    device = options.device
    if device == "auto" and not try_target.is_row(options.target, options.values):
        device = "cuda" if nvml.count() else "cpu"
    selection = try_target.attempts(
        options.target, options.values, only=options.only, overrides=options.overrides, workload=options.workload,
        sweep=options.sweep, device=device,
    )  # fmt: skip
    return try_one.main(selection, check=options.check, debug=options.pdb)


def repro(options: argparse.Namespace) -> int:
    """Write the script of one row."""
    from orchestrator.cli import repro

    path = repro.write(options.trial_id, options.sweep, options.output)
    print(f"wrote {path}; run it: python {path}")
    return 0


def profile(options: argparse.Namespace) -> int:
    """Profile rows of a sweep that was run; write its reports again."""
    from orchestrator import report
    from orchestrator.cli.profiling import sweep as profiling
    from orchestrator.results import lookup, sweep_directory

    directory = lookup.find(options.name)
    found = list(profiling.profile(sweep_directory.load(directory), options.only))
    report.write_reports(sweep_directory.load(directory))
    print(f"{profiling.TRACE_HINT}; `orchestrator sync` puts them into MLflow", file=sys.stderr)
    return 0 if all(one.kernels for one in found) else 1


def sweeps(options: argparse.Namespace) -> int:
    """List the sweeps that were run here."""
    from orchestrator.cli import sweeps

    limit = None if options.all else sweeps.NEWEST
    if options.json:
        print(json.dumps(sweeps.as_objects(options.name, limit), indent=1))
    else:
        print(sweeps.as_text(options.name, limit))
    return 0


def ui(options: argparse.Namespace) -> int:
    """Serve the MLflow UI until it is interrupted."""
    from orchestrator.trackers import ui

    given = [options.uri] if options.uri else []
    given += ["--host", options.host] if options.host else []
    given += ["--port", str(options.port)] if options.port else []
    given += ["--no-browser"] if options.no_browser else []
    return ui.main(given)


def _place(options: argparse.Namespace) -> dict[str, Any]:
    names = ("tracking_uri", "address", "device", "rerun")
    return {name: getattr(options, name) for name in names} | {"progress": _progress(options.quiet)}


def resume(options: argparse.Namespace) -> int:
    """Go on with a sweep; print its table, or JSON."""
    from orchestrator import api

    _check_columns(options)
    results = api.resume(options.name, **_place(options))
    if results.meta.duel is not None:
        return _show_duel(results, None, "json" if options.json else "table")
    return _show(results, options)


def _progress(quiet: bool) -> Any:
    from orchestrator.progress.live import progress_for

    return progress_for(quiet)


def _show(results: Any, options: argparse.Namespace) -> int:
    from orchestrator.report.json_object import as_object

    if options.json:
        print(json.dumps(as_object(results), indent=1))
    else:
        _print_answer(results, options)
    return 0 if results.all_ok else 1


def _print_answer(results: Any, options: argparse.Namespace) -> None:
    """The table of the terminal and what it says, or with --full-grid that of summary.txt."""
    from rich.console import Console

    from orchestrator.report import render, terminal

    if options.full_grid:
        print(render(results, "txt").rstrip("\n"))
        return
    console = Console(file=sys.stdout, highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=terminal.WIDTH, highlight=False, markup=False)
    terminal.show(results, console, options.columns, options.sort)


def _check_columns(options: argparse.Namespace) -> None:
    """Refuse a column that is not there before a sweep runs for an hour.

    Raises:
        RequestError: there is no such column or order.
    """
    from orchestrator.report.figures import check_names

    check_names(options.columns, options.sort)


def plan(options: argparse.Namespace) -> int:
    """Print what would run; run nothing."""
    from orchestrator.cli import estimate
    from orchestrator.plan.sweep import Sweep

    sweep = Sweep.load(options.sweep, options.overrides, options.only)
    planned = estimate.of(sweep, options.device)
    if options.workload:
        from orchestrator.driver import workload_check

        checked = workload_check.begin(sweep, options.device, always=True)
        if checked is not None:
            checked.refuse()
    known = None
    if options.reuse or options.why or sweep.spec.reuse:
        from orchestrator.cli import known_rows

        known = known_rows.of(sweep, options.device, why=options.why)
    if options.json:
        more = {} if known is None else {"reuse": known.to_json()}
        print(json.dumps({**planned.to_json(), **more}, indent=1))
        return 0
    print(planned.to_text() + (f"\n{planned.costs()}" if options.cost else ""))
    if known is not None:
        print(known.to_text())
    return 0


def report(options: argparse.Namespace) -> int:
    """Write a sweep's reports again; print one of them."""
    from orchestrator import report
    from orchestrator.cli import past
    from orchestrator.report import reasons
    from orchestrator.report.layout import Layout
    from orchestrator.results import lookup, sweep_directory

    if len(options.names) > 1 or options.by is not None or options.against is not None:
        return past.side_by_side(options)
    if options.format == "json":
        raise RequestError("--format json goes with several sweeps; of one, `run --json` prints it")
    _check_columns(options)
    results = sweep_directory.load(lookup.find(options.names[0]))
    report.write_reports(results)
    if options.plots is not None:
        _write_plots(results, options.plots)
    if options.errors:
        print(reasons.in_full(Layout.of(results)))
    elif options.format is not None:
        print(report.render(results, options.format).rstrip("\n"))
    else:
        _print_answer(results, options)
    return 0


def _write_plots(results: Any, directory: str) -> None:
    from orchestrator.report.plots import write_plots

    written = write_plots(results, directory)
    print(
        f"wrote {', '.join(map(str, written))}" if written else "nothing to draw: no row is ok",
        file=sys.stderr,
    )


def compare(options: argparse.Namespace) -> int:
    """Compare two sweeps, or measure two implementations interleaved."""
    if options.duel != (options.sweep is not None):
        raise RequestError(
            "compare takes BASE and CANDIDATE, and with --duel the sweep file with both labels as third"
        )
    if options.duel and options.candidate is None:
        raise RequestError("compare --duel takes two labels and the sweep file that has both")
    if options.duel and options.again:
        raise RequestError(
            "compare --duel measures both now already: --again is for two sweeps or sweep files"
        )
    if options.duel:
        return _duel(options)
    if options.again:
        return _again(options)
    for name in ("overrides", "only", "output", "resume", "rerun", "address", "tracking_uri"):
        if getattr(options, name):
            raise RequestError(
                "compare of two sweeps measures nothing: options of run go with --duel or --again"
            )
    from orchestrator.compare.comparison import compare
    from orchestrator.report import comparison_formats
    from orchestrator.results import lookup
    from orchestrator.results.sweep_directory import load

    if options.candidate is None:  # the newest of a name against the one before it
        newest = lookup.find(options.base)
        base, candidate = load(lookup.before(newest)), load(newest)
    else:
        base, candidate = load(lookup.find(options.base)), load(lookup.find(options.candidate))
    found = compare(base, candidate, force=options.force, fail_slower=options.fail_slower)
    print(comparison_formats.render(found, options.format))
    return _exit_code(found, options)


def _exit_code(found: Any, options: argparse.Namespace) -> int:
    """1 for a regression, and with --fail-unclear for a row that tells nothing; else 0."""
    return max(found.exit_code, int(options.fail_unclear and not found.settled))


def _again(options: argparse.Namespace) -> int:
    """Measure both sides of a comparison now, in turns."""
    from datetime import datetime
    from pathlib import Path

    from orchestrator.compare import again
    from orchestrator.report import comparison_formats
    from orchestrator.spec import loading

    if options.candidate is None:
        raise RequestError("compare --again takes two sweeps or sweep files: BASE and CANDIDATE")
    if options.resume or options.rerun or options.address:
        raise RequestError(
            "compare --again measures both sides anew on this machine: no --resume, --rerun, --address"
        )
    base, candidate = again.Side.of(options.base), again.Side.of(options.candidate)
    spec, _ = loading.read(base.file, options.overrides)
    stated = "repeats" in spec.measure.model_fields_set and spec.measure.repeats > 1
    rounds = spec.measure.repeats if stated else again.ROUNDS
    arguments = [part for override in options.overrides for part in ("-S", override)]
    arguments += ["--only", options.only] if options.only else []
    if options.tracking_uri:  # anyone may read a command line, so a log-in goes by the environment
        os.environ["MLFLOW_TRACKING_URI"] = options.tracking_uri
        arguments += ["--tracking-uri", masked(options.tracking_uri)]
    arguments += ["--device", options.device] if options.device != "auto" else []
    folder = Path(
        options.output or Path("mlruns", "again", f"{datetime.now():%Y%m%d_%H%M%S}")
    ).resolve()
    results = again.measure(base, candidate, rounds, folder, arguments)
    found = again.judge(*results, force=options.force, fail_slower=options.fail_slower)
    comparison_formats.write(found, folder)
    print(comparison_formats.render(found, options.format))
    return _exit_code(found, options)


def _duel(options: argparse.Namespace) -> int:
    from orchestrator import api
    from orchestrator.compare import duel
    from orchestrator.plan.sweep import Sweep

    if options.force:
        raise RequestError(
            "a duel measures both in one process, so that there is nothing to --force"
        )
    sweep = duel.prepare(
        Sweep.load(options.sweep, options.overrides, options.only), options.base, options.candidate
    )
    results = api.run(sweep, output=options.output, resume=options.resume, **_place(options))
    return _show_duel(results, options.fail_slower, options.format, options.fail_unclear)


def _show_duel(
    results: Any, fail_slower: float | None, form: str, fail_unclear: bool = False
) -> int:
    """A regression, as of compare; and 1, as of run, where a row of either side is not ok."""
    from orchestrator.compare import duel
    from orchestrator.report import comparison_formats

    found = duel.judge(results, fail_slower)
    comparison_formats.write(found, results.directory)
    print(comparison_formats.render(found, form))
    unclear = fail_unclear and not found.settled
    return max(found.exit_code, int(unclear), 0 if results.all_ok else 1)


def sync(options: argparse.Namespace) -> int:
    """Rebuild a sweep's MLflow runs from its journal."""
    from orchestrator.results import lookup, sweep_directory
    from orchestrator.trackers.sync import sync

    results = sweep_directory.load(lookup.find(options.name))
    done = sync(results, options.tracking_uri or results.meta.spec.tracking.uri)
    print(
        f"{done.created} runs created, {done.updated} updated, {done.unchanged} as they should be"
    )
    return 0


def list_(options: argparse.Namespace) -> int:
    """Print implementations and workloads, and what each needs."""
    from orchestrator.cli import catalog

    print(json.dumps(catalog.as_object(), indent=1) if options.json else catalog.as_text())
    if options.explain and not options.json:
        print(f"\n{catalog.explanations()}")
    return 0


def cheats(options: argparse.Namespace) -> int:
    """Try known cheats on this machine; print which are caught."""
    from orchestrator.cheats import suite
    from orchestrator.machine import nvml

    device = options.device
    if device == "auto":
        device = "cuda" if nvml.count() else "cpu"
    found = []
    for one in suite.run(device):
        print(f"{one.kind}: {one.result}", file=sys.stderr)
        found.append(one)
    print(suite.as_json(found) if options.json else suite.as_text(found))
    return suite.exit_code(found)


def doctor(options: argparse.Namespace) -> int:
    """Print what makes this machine unfit to measure; the exit code says how bad it is."""
    from orchestrator.doctor import checkup

    findings = checkup.examine(options.tracking_uri, options.address)
    print(
        json.dumps(checkup.as_object(findings), indent=1)
        if options.json
        else checkup.as_text(findings)
    )
    return checkup.exit_code(findings)
