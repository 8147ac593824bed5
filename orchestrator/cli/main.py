"""The command line: parse, call, print, exit code. stdout carries the result; progress and messages go to stderr."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator import __version__
from orchestrator.errors import AbortedError, OrchestratorError, RequestError

EXAMPLES = """\
examples:
  python -m orchestrator init my-sweep                        write a starter sweep and a starter implementation
  python -m orchestrator sweeps/full.yaml                     run a sweep and print its table
  python -m orchestrator plan sweeps/full.yaml                what would run, and why that many
  python -m orchestrator run sweeps/full.yaml -S axes.heads=[8] --only 'seq_len <= 2048'
  python -m orchestrator resume last                          go on where a sweep stopped
  python -m orchestrator compare BASE CANDIDATE               faster, slower, or the same?

exit codes: 0 every trial ok; 1 some are not, or a comparison found a regression; 2 the request is bad;
3 aborted; 130/143 interrupted, resumable"""

Options = argparse._ActionsContainer
Handler = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser, commands = _parser()
    if given and given[0] not in {*commands, "-h", "--help", "--version"}:
        _refuse_near_command(given[0], commands, parser)
        given.insert(0, "run")
    options = parser.parse_args(given)
    if not hasattr(options, "handler"):
        parser.print_help(sys.stderr)
        return 2
    try:
        code = int(options.handler(options))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except OrchestratorError as error:
        print(f"error: {error}" if "\n" not in str(error) else f"error:\n{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `... | head` closed our stdout
        _say_no_more()
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        _say_no_more()
        return AbortedError.exit_code


def _refuse_near_command(name: str, commands: frozenset[str], parser: argparse.ArgumentParser) -> None:
    """A word that is no file and nearly a command is a slip of the finger, not a sweep file."""
    near = difflib.get_close_matches(name, commands, n=1)
    if near and not os.path.lexists(name):
        parser.error(f"there is no command {name!r}, and no sweep file of that name (did you mean {near[0]!r}?)")


def _say_no_more() -> None:
    """Python flushes stdout once more as it exits: to nobody, where nothing can be written."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> tuple[argparse.ArgumentParser, frozenset[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator",
        description="Which GPU implementation is right, which fits, and which is fast.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for add in (
        _add_init, _add_run, _add_plan, _add_resume, _add_report, _add_compare, _add_sync, _add_list, _add_doctor,
        _add_completion,
    ):  # fmt: skip
        add(commands)
    return parser, frozenset(commands.choices)


def _command(commands: Any, name: str, handler: Handler, summary: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  python -m orchestrator {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", metavar="SWEEP", help="a sweep file")
    _add_narrowing(parser)


def _add_narrowing(parser: Options) -> None:
    parser.add_argument(
        "-S", dest="overrides", metavar="PATH=VALUE", action="append", default=[],
        help="override a field of the sweep file, e.g. axes.heads=[8] (repeatable)",
    )  # fmt: skip
    parser.add_argument("--only", metavar="EXPR", help="keep the trials for which the expression holds")


def _add_tracking(parser: Options) -> None:
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow tracking server or store")


def _add_execution(parser: Options) -> None:
    _add_place(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def _add_directory(parser: Options) -> None:
    parser.add_argument("--output", metavar="DIR", help="directory of the results (default: mlruns/sweeps/NAME/ID)")
    parser.add_argument("--resume", action="store_true", help="go on in --output, or in the newest sweep of this name")


def _add_place(parser: Options) -> None:
    _add_tracking(parser)
    parser.add_argument(
        "--address", metavar="RAY_ADDRESS", help="a running Ray cluster (default: a Ray of our own, here)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: CUDA where there is a GPU"
    )
    parser.add_argument(
        "--rerun", metavar="failed|stale|all|EXPR", help="run these finished trials again (implies --resume)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings")


def _add_init(commands: Any) -> None:
    parser = _command(commands, "init", _init, "write a starter sweep and a starter implementation", "init my-sweep")
    parser.add_argument("directory", metavar="DIR", nargs="?", default=".", help="where (default: here)")
    parser.add_argument("--workload", metavar="NAME", help="begin with a workload of your own: NAME.py and NAME.yaml")


def _add_run(commands: Any) -> None:
    parser = _command(
        commands, "run", _run, "run a sweep and print its table", "run sweeps/quick.yaml -S measure.repeats=3"
    )
    _add_sweep(parser)
    _add_directory(parser)
    _add_execution(parser)


def _add_plan(commands: Any) -> None:
    parser = _command(
        commands, "plan", _plan, "what would run, why that many, and for how long; runs nothing",
        "plan sweeps/full.yaml --only 'heads == 8'",
    )  # fmt: skip
    _add_sweep(parser)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="plan for this device")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--workload", action="store_true", help="draw the workload's inputs and call its reference, as itself"
    )


def _add_resume(commands: Any) -> None:
    parser = _command(commands, "resume", _resume, "go on where a sweep stopped", "resume last --rerun failed")
    parser.add_argument("name", metavar="SWEEP_ID|last|DIR", help="which sweep")
    _add_execution(parser)


def _add_report(commands: Any) -> None:
    parser = _command(
        commands, "report", _report, "write the reports again from the journal", "report last --format md"
    )
    parser.add_argument("name", metavar="SWEEP_ID|last|DIR", help="which sweep")
    parser.add_argument("--format", choices=("txt", "md", "csv", "latex", "html"), default="txt", help="what to print")
    parser.add_argument("--plots", metavar="DIR", help="write the figures there too, as PNG and SVG")


def _add_compare(commands: Any) -> None:
    parser = _command(
        commands,
        "compare",
        _compare,
        "compare two sweeps row by row, or measure two implementations of one in turns",
        "compare 20261122_093000_ab12 last --fail-slower 5%\n"
        "  python -m orchestrator compare --duel standard improved sweeps/quick.yaml",
    )
    parser.add_argument("base", metavar="BASE", help="a sweep id, a directory or a results.jsonl; of a duel, a label")
    parser.add_argument("candidate", metavar="CANDIDATE", help="likewise")
    parser.add_argument("sweep", metavar="SWEEP", nargs="?", help="of a duel: the sweep file with both labels")
    parser.add_argument(
        "--duel", action="store_true",
        help="measure both in turns, in one process and over fresh ones: the way to settle a close call",
    )  # fmt: skip
    parser.add_argument(
        "--fail-slower", metavar="PERCENT", type=_percent, help="a slow-down from here on is a regression"
    )
    parser.add_argument("--force", action="store_true", help="compare two sweeps although the environments differ")
    parser.add_argument("--format", choices=("table", "md", "html", "json"), default="table", help="what to print")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="= --format json")
    run = parser.add_argument_group("of a duel, as of run")
    _add_narrowing(run)
    _add_directory(run)
    _add_place(run)


def _add_sync(commands: Any) -> None:
    parser = _command(
        commands,
        "sync",
        _sync,
        "rebuild the MLflow runs from the journal",
        "sync last --tracking-uri http://127.0.0.1:5000",
    )
    parser.add_argument("name", metavar="SWEEP_ID|last|DIR", help="which sweep")
    _add_tracking(parser)


def _add_list(commands: Any) -> None:
    parser = _command(
        commands, "list", _list, "implementations, workloads, what each needs, and whether it is here", "list"
    )
    parser.add_argument("--explain", action="store_true", help="also how an implementation chooses among its plans")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_doctor(commands: Any) -> None:
    parser = _command(commands, "doctor", _doctor, "is this machine fit to measure?", "doctor")
    _add_tracking(parser)
    parser.add_argument("--address", metavar="RAY_ADDRESS", help="a Ray cluster to look at")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_completion(commands: Any) -> None:
    parser = _command(
        commands, "completion", _completion, "print the completion script of a shell",
        "completion bash > ~/.orchestrator-completion  # then, in ~/.bashrc: source ~/.orchestrator-completion",
    )  # fmt: skip
    parser.add_argument("shell", choices=("bash", "zsh"), help="which shell")


def _init(options: argparse.Namespace) -> int:
    from orchestrator.cli import starter

    print(starter.next_steps(starter.init(options.directory, options.workload)))
    return 0


def _completion(options: argparse.Namespace) -> int:
    from orchestrator.cli import completion

    print(completion.script(_parser()[0], options.shell))
    return 0


def _run(options: argparse.Namespace) -> int:
    from orchestrator import api
    from orchestrator.plan.sweep import Sweep

    sweep = Sweep.load(options.sweep, options.overrides, options.only)
    return _show(api.run(sweep, output=options.output, resume=options.resume, **_place(options)), options.json)


def _place(options: argparse.Namespace) -> dict[str, Any]:
    names = ("tracking_uri", "address", "device", "rerun")
    return {name: getattr(options, name) for name in names} | {"progress": _progress(options.quiet)}


def _resume(options: argparse.Namespace) -> int:
    from orchestrator import api

    results = api.resume(options.name, **_place(options))
    if results.meta.duel is not None:
        return _show_duel(results, None, "json" if options.json else "table")
    return _show(results, options.json)


def _progress(quiet: bool) -> Any:
    from orchestrator.progress.live import progress_for

    return progress_for(quiet)


def _show(results: Any, as_json: bool) -> int:
    from orchestrator.report import render
    from orchestrator.report.json_object import as_object

    print(json.dumps(as_object(results), indent=1) if as_json else render(results, "txt").rstrip("\n"))
    return 0 if results.all_ok else 1


def _plan(options: argparse.Namespace) -> int:
    from orchestrator.cli import estimate
    from orchestrator.plan.sweep import Sweep

    sweep = Sweep.load(options.sweep, options.overrides, options.only)
    planned = estimate.of(sweep, options.device)
    if options.workload:
        from orchestrator.driver import workload_check

        checked = workload_check.begin(sweep, options.device, always=True)
        if checked is not None:
            checked.refuse()
    print(json.dumps(planned.to_json(), indent=1) if options.json else planned.to_text())
    return 0


def _report(options: argparse.Namespace) -> int:
    from orchestrator import report
    from orchestrator.results import sweep_directory

    results = sweep_directory.load(sweep_directory.find(options.name))
    report.write_reports(results)
    if options.plots is not None:
        _write_plots(results, options.plots)
    print(report.render(results, options.format).rstrip("\n"))
    return 0


def _write_plots(results: Any, directory: str) -> None:
    from orchestrator.report.plots import write_plots

    written = write_plots(results, directory)
    print(f"wrote {', '.join(map(str, written))}" if written else "nothing to draw: no row is ok", file=sys.stderr)


def _compare(options: argparse.Namespace) -> int:
    if options.duel != (options.sweep is not None):
        raise RequestError("compare takes BASE and CANDIDATE, and with --duel the sweep file with both labels as third")
    if options.duel:
        return _duel(options)
    for name in ("overrides", "only", "output", "resume", "rerun", "address", "tracking_uri"):
        if getattr(options, name):
            raise RequestError("compare of two sweeps measures nothing: options of run go with --duel alone")
    from orchestrator.compare.comparison import compare
    from orchestrator.report import comparison
    from orchestrator.results import sweep_directory

    base, candidate = (sweep_directory.load(sweep_directory.find(name)) for name in (options.base, options.candidate))
    found = compare(base, candidate, force=options.force, fail_slower=options.fail_slower)
    print(comparison.render(found, options.format))
    return found.exit_code


def _duel(options: argparse.Namespace) -> int:
    from orchestrator import api
    from orchestrator.compare import duel
    from orchestrator.plan.sweep import Sweep

    if options.force:
        raise RequestError("a duel measures both in one process, so that there is nothing to --force")
    sweep = duel.prepare(Sweep.load(options.sweep, options.overrides, options.only), options.base, options.candidate)
    results = api.run(sweep, output=options.output, resume=options.resume, **_place(options))
    return _show_duel(results, options.fail_slower, options.format)


def _show_duel(results: Any, fail_slower: float | None, form: str) -> int:
    """A regression, as of compare; and 1, as of run, where a row of either side is not ok."""
    from orchestrator.compare import duel
    from orchestrator.report import comparison

    found = duel.judge(results, fail_slower)
    comparison.write(found, results.directory)
    print(comparison.render(found, form))
    return max(found.exit_code, 0 if results.all_ok else 1)


def _sync(options: argparse.Namespace) -> int:
    from orchestrator.results import sweep_directory
    from orchestrator.trackers.sync import sync

    results = sweep_directory.load(sweep_directory.find(options.name))
    done = sync(results, options.tracking_uri or results.meta.spec.tracking.uri)
    print(f"{done.created} runs created, {done.updated} updated, {done.unchanged} as they should be")
    return 0


def _list(options: argparse.Namespace) -> int:
    from orchestrator.cli import catalog

    print(json.dumps(catalog.as_object(), indent=1) if options.json else catalog.as_text())
    if options.explain and not options.json:
        print(f"\n{catalog.explanations()}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from orchestrator.doctor import checkup

    findings = checkup.examine(options.tracking_uri, options.address)
    print(json.dumps(checkup.as_object(findings), indent=1) if options.json else checkup.as_text(findings))
    return checkup.exit_code(findings)


def _percent(text: str) -> float:
    """`5%` or `0.05` as a fraction."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage: give 5% or 0.05") from None
    if not text.endswith("%") and 1 <= value < 1000:
        raise argparse.ArgumentTypeError(f"{text!r} would be {value:.0%}: give {text}%, or 0.05 for 5%")
    if not 0 < value < 10:
        raise argparse.ArgumentTypeError(f"{text!r} is out of range: give more than 0% and less than 1000%")
    return value
