"""What each command does: call the library, print the result, return the exit code."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.cli.options import TABLE, place, refuse
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
    named = shlex.quote(str(file))
    print(f"{found}\nwrote {file}\nNext:")
    print(f"  orchestrator plan {named}\n  orchestrator {named}")
    return 0


def completion(options: argparse.Namespace) -> int:
    """Print the completion script of a shell."""
    from orchestrator.cli.completion import script

    print(script(options.parser, options.shell))
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a sweep; print its table, or JSON."""
    from orchestrator import api
    from orchestrator.cli import sweep_argument

    _check_columns(options, lambda: _stated_metrics(options))
    overrides = [*options.overrides]
    if getattr(options, "profile", False):
        overrides.append("measure.profile=true")
    reuse = getattr(options, "reuse", False)
    if reuse:
        overrides.append("reuse=true")
    if reuse and options.rerun is not None:
        raise RequestError("--rerun measures rows again, and --reuse measures none twice: give one")
    sweep = sweep_argument.load(options.sweep, overrides, options.only)
    export = getattr(options, "export", None)
    if export is not None:
        from orchestrator.results import choices

        choices.refuse(sweep.spec, export)
    codes: list[int] = []  # one, where it was shown as soon as the last trial had ended
    results = api.run(
        sweep,
        output=options.output,
        resume=options.resume,
        on_results=lambda found: codes.append(_show(found, options)),
        **place(options),
    )
    if export is not None:
        _export(results, export)
    if not codes:
        return _show(results, options)
    return codes[0]


def _export(results: Any, file: str) -> None:
    from orchestrator.results import choices

    missing = choices.write(results, file)
    said = f"wrote {file}"
    if missing:
        said += f"; {missing} of {len(results.answers)} searches chose nothing"
    print(said, file=sys.stderr)


def demo(options: argparse.Namespace) -> int:
    """Run a sweep that came with the package."""
    from orchestrator.cli.demo import sweep_file

    options.sweep = str(sweep_file(options.sweep))
    return run(options)


def try_(options: argparse.Namespace) -> int:
    """Verify and time one implementation in this process."""
    from orchestrator.cli.trying import try_one, try_target
    from orchestrator.driver.preflight import refuse_missing_gpu
    from orchestrator.machine import nvml

    device = options.device
    if device == "auto" and not try_target.is_row(options.target, options.values):
        device = "cuda" if nvml.count() else "cpu"
    selection = try_target.attempts(
        options.target,
        options.values,
        only=options.only,
        overrides=options.overrides,
        workload=options.workload,
        sweep=options.sweep,
        device=device,
    )
    for attempt in selection.attempts:  # of a row: the device that it was measured on
        refuse_missing_gpu(attempt.device)
    return try_one.main(selection, check=options.check, debug=options.pdb)


def repro(options: argparse.Namespace) -> int:
    """Write the script of one row."""
    from orchestrator.cli.trying import repro

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
    return 1 if any(one.error for one in found) else 0


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

    given = []
    if options.uri:
        given.append(options.uri)
    if options.host:
        given += ["--host", options.host]
    if options.port is not None:
        given += ["--port", str(options.port)]
    if options.no_browser:
        given.append("--no-browser")
    return ui.main(given)


def resume(options: argparse.Namespace) -> int:
    """Go on with a sweep; print its table, or JSON."""
    from orchestrator import api
    from orchestrator.cli import comparing

    _check_columns(options, lambda: _shown_metrics(options.name))
    results = api.resume(options.name, **place(options))
    if results.meta.duel is not None:
        return comparing.show_duel(results, None, "json" if options.json else "table")
    return _show(results, options)


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


def _stated_metrics(options: argparse.Namespace) -> Iterable[str]:
    """The metrics of its own that the workload of a sweep file states."""
    from orchestrator.cli import sweep_argument

    sweep = sweep_argument.load(options.sweep, options.overrides, options.only)
    return sweep.workload.metrics


def _shown_metrics(name: str) -> Iterable[str]:
    """The metrics of a workload's own that the rows of a sweep have."""
    from orchestrator.report.figures import own_metrics
    from orchestrator.results import lookup, sweep_directory

    return own_metrics(sweep_directory.load(lookup.find(name)).rows)


def _check_columns(options: argparse.Namespace, own: Callable[[], Iterable[str]]) -> None:
    """Refuse options of the table that cannot be met before a sweep runs for an hour.

    Raises:
        RequestError: there is no such column or order, or no such table is printed.
    """
    from orchestrator.report.figures import check_names

    if getattr(options, "json", False):
        refuse(options, TABLE, "is of the table, and does nothing with --json")
    if options.full_grid:
        refuse(options, ("columns", "sort"), "does nothing with --full-grid, which shows all")
    check_names(options.columns, options.sort, own)


def plan(options: argparse.Namespace) -> int:
    """Print what would run; run nothing."""
    from orchestrator.cli import estimate, sweep_argument

    if options.json:
        refuse(options, ("cost",), "is of the text, and does nothing with --json")
    sweep = sweep_argument.load(options.sweep, options.overrides, options.only)
    planned = estimate.of(sweep, options.device)
    if options.workload:
        from orchestrator.driver import workload_check

        workload_check.refuse_any(sweep, options.device)
    known = None
    if options.reuse or options.why or sweep.spec.reuse:
        from orchestrator.driver import known_rows

        known = known_rows.of(sweep, options.device, why=options.why)
    if options.json:
        content = planned.to_json()
        if known is not None:
            content["reuse"] = known.to_json()
        print(json.dumps(content, indent=1))
        return 0
    print(planned.to_text())
    if options.cost:
        print(planned.costs())
    if known is not None:
        print(known.to_text())
    return 0


def report(options: argparse.Namespace) -> int:
    """Write a sweep's reports again; print one of them."""
    from orchestrator import report
    from orchestrator.cli import past
    from orchestrator.report import reasons
    from orchestrator.report.layout import Layout
    from orchestrator.results import choices, lookup, sweep_directory

    if len(options.names) > 1 or options.by is not None or options.against is not None:
        return past.side_by_side(options)
    if options.format == "json":
        raise RequestError("--format json goes with several sweeps; of one, `run --json` prints it")
    if options.errors:
        refuse(options, ("format", *TABLE), "does nothing with --errors, which prints the reasons")
    if options.format is not None:
        refuse(options, TABLE, "is of the answer, which --format prints a file instead of")
    _check_columns(options, lambda: _shown_metrics(options.names[0]))
    results = sweep_directory.load(lookup.find(options.names[0]))
    if options.export is not None:
        choices.refuse(results.meta.spec, options.export)
    report.write_reports(results)
    if options.plots is not None:
        _write_plots(results, options.plots)
    if options.errors:
        print(reasons.in_full(Layout.of(results)))
    elif options.format is not None:
        print(report.render(results, options.format).rstrip("\n"))
    else:
        _print_answer(results, options)
    if options.export is not None:
        _export(results, options.export)
    return 0


def _write_plots(results: Any, directory: str) -> None:
    from orchestrator.report.plots import write_plots

    try:
        written = write_plots(results, directory)
    except OSError as error:
        raise RequestError(
            f"--plots {directory} cannot be written ({error.strerror}): name another folder"
        ) from None
    said = "nothing to draw: no row is ok"
    if written:
        said = f"wrote {', '.join(map(str, written))}"
    print(said, file=sys.stderr)


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

    if options.json:
        refuse(options, ("explain",), "is of the text, and does nothing with --json")
    if options.json:
        print(json.dumps(catalog.as_object(), indent=1))
    else:
        print(catalog.as_text())
    if options.explain:
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
    if options.json:
        print(json.dumps(checkup.as_object(findings), indent=1))
    else:
        print(checkup.as_text(findings))
    return checkup.exit_code(findings)
