"""The command line as argparse reads it: every command, its options and examples."""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator import __version__
from orchestrator.cli import commands, compare_options, options, past
from orchestrator.cli.options import SWEEP, add_command

EXAMPLES = """\
examples:
  orchestrator demo                   a small sweep of what comes with it
  orchestrator init my-sweep          a starter sweep and implementation
  orchestrator try ./mine.py:build seq_len=512      one shape, within seconds
  orchestrator sweeps/full.yaml       run a sweep and print its answer
  orchestrator plan sweeps/full.yaml  what would run, and why that many
  orchestrator run sweeps/full.yaml -S axes.heads=[8] --only 'seq_len <= 2048'
  orchestrator resume last            go on with a stopped sweep
  orchestrator compare last           the newest sweep against the one before

exit codes:
  0 every trial ok; 1 some rows are not ok, or a comparison found a regression;
  2 the request is bad; 3 aborted; 130/143 interrupted, resumable"""


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and the names of its commands."""
    parser = argparse.ArgumentParser(
        prog="orchestrator",
        description="Which GPU implementation is right, which fits, and which is fast.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands")
    for add in (
        _add_demo, _add_init, _add_adopt, _add_try, _add_run, _add_plan, _add_resume, _add_report,
        _add_sweeps, _add_history, _add_import, compare_options.add, _add_repro, _add_profile,
        _add_ui, _add_sync, _add_list, _add_doctor, _add_cheats, _add_completion,
    ):  # fmt: skip
        add(subparsers)
    subparsers.choices["completion"].set_defaults(parser=parser)  # what it completes
    return parser, dict(subparsers.choices)


def _add_demo(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "demo", commands.demo, "run a small sweep of what comes with this package",
        "demo",
    )  # fmt: skip
    parser.add_argument(
        "sweep", metavar="NAME", nargs="?", default="quick", help="which of them (default: quick)"
    )
    options.add_narrowing(parser)
    options.add_directory(parser)
    options.add_execution(parser)


def _add_try(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "try", commands.try_,
        "right or wrong, and one time, within seconds: in this process, unisolated",
        "try ./my_attention.py:build seq_len=512\n"
        "  orchestrator try sweep.yaml --only \"implementation == 'mine' and seq_len == 512\"\n"
        "  orchestrator try 4ba9858e --pdb",
    )  # fmt: skip
    parser.add_argument(
        "target", metavar="IMPLEMENTATION|SWEEP|TRIAL_ID",
        help="a registered name or path.py:attribute, a sweep file, a sweep that was run, "
        "or a row of one",
    )  # fmt: skip
    parser.add_argument(
        "values", metavar="NAME=VALUE", nargs="*", default=[],
        help="params of an implementation; the others are as in the sweep file beside it",
    )  # fmt: skip
    options.add_narrowing(parser)
    parser.add_argument(
        "--workload", metavar="NAME|PATH.py:ATTR", help="of an implementation: what it is to solve"
    )
    parser.add_argument("--sweep", metavar=SWEEP, help="of a trial's id: the sweep that has it")
    parser.add_argument("--check", action="store_true", help="verify only, take no time")
    parser.add_argument(
        "--pdb", action="store_true", help="open the debugger where the implementation raises"
    )
    options.add_device(parser, "default: CUDA where there is a GPU")


def _add_repro(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "repro", commands.repro,
        "write a plain script that runs exactly one row's inputs",
        "repro 4ba9858e  # then: python repro_4ba9858e*.py, ncu python ...",
    )  # fmt: skip
    parser.add_argument(
        "trial_id", metavar="TRIAL_ID", help="a row's id, or the first digits of it"
    )
    parser.add_argument(
        "--sweep", metavar=SWEEP, help="the sweep that has it (default: the newest that does)"
    )
    parser.add_argument("--output", metavar="FILE", help="default: repro_TRIAL_ID.py here")


def _add_profile(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "profile", commands.profile,
        "see which kernels the rows of a finished sweep run, with a trace of each",
        "profile last --only \"implementation == 'mine' and seq_len == 512\"",
    )  # fmt: skip
    options.add_sweep_name(parser)
    parser.add_argument("--only", metavar="EXPR", help="the rows for which the expression holds")


def _add_sweeps(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "sweeps", commands.sweeps, "list the sweeps that were run here", "sweeps"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="only those of this name")
    parser.add_argument("--all", action="store_true", help="not only the newest")
    options.add_json(parser)


def _add_history(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "history", past.history,
        "rows over time: what became slower, by how much, since which commit",
        "history --implementation improved --where 'seq_len == 4096'",
    )  # fmt: skip
    parser.add_argument("--implementation", metavar="LABEL", help="only its rows")
    parser.add_argument(
        "--where", metavar="EXPR", help="only the rows for which the expression holds"
    )
    parser.add_argument(
        "--metric", metavar="NAME", default="latency_ms", help="which figure (default: latency_ms)"
    )
    options.add_format(parser, ("table", "json", "csv", "html"))
    parser.add_argument(
        "--page", metavar="FILE", nargs="?", const=past.PAGE,
        help=f"write a page, too (default: {past.PAGE} here)",
    )  # fmt: skip
    parser.add_argument(
        "--fail", action="store_true", help="exit code 1 if anything regressed and still is worse"
    )


def _add_import(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "import", past.import_,
        "take in sweeps that were run on another machine; runs nothing of them",
        "import sweeps.zip",
    )  # fmt: skip
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="a sweep's directory, a folder with some in it, or a zip or tar file of one",
    )


def _add_ui(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "ui", commands.ui, "open the runs in the MLflow UI", "ui --port 5001"
    )
    parser.add_argument(
        "uri", metavar="STORE", nargs="?", type=options.store_uri,
        help="the store, NAME.db or sqlite:///... (default: mlruns/mlflow.db here)",
    )  # fmt: skip
    parser.add_argument("--host", help="the interface to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="the port to listen on (default: 5000)")
    parser.add_argument(
        "--no-browser", action="store_true", help="print the addresses, open nothing"
    )


def _add_init(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "init", commands.init, "write a starter sweep and a starter implementation",
        "init my-sweep",
    )  # fmt: skip
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", default=".", help="where (default: here)"
    )
    parser.add_argument(
        "--workload",
        metavar="NAME",
        help="begin with a workload of your own: NAME.py and NAME.yaml",
    )


def _add_adopt(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "adopt", commands.adopt,
        "write a sweep over problems in the format of another benchmark",
        "adopt problems/",
    )  # fmt: skip
    parser.add_argument(
        "path", metavar="PATH", help="a folder of KernelBench problems, a definition, a task"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="the sweep file to write (default: sweep.yaml beside them)"
    )


def _add_run(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "run", commands.run, "run a sweep and print its table",
        "run sweeps/quick.yaml -S measure.repeats=3",
    )  # fmt: skip
    options.add_sweep_file(parser)
    options.add_export(parser)
    options.add_directory(parser)
    options.add_execution(parser)
    parser.add_argument(
        "--profile",
        action="store_true",
        help="see which kernels each row runs, in a call of its own",
    )
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="take rows that an earlier sweep here measured alike; measure the others",
    )


def _add_plan(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "plan", commands.plan,
        "what would run, why that many, and for how long; runs nothing",
        "plan sweeps/full.yaml --only 'heads == 8'",
    )  # fmt: skip
    options.add_sweep_file(parser)
    options.add_device(parser, "plan for this device")
    parser.add_argument(
        "--cost", action="store_true", help="how long each implementation takes, the longest first"
    )
    parser.add_argument(
        "--reuse", action="store_true", help="which rows an earlier sweep here measured alike"
    )
    parser.add_argument(
        "--why",
        action="store_true",
        help="for each row to be measured: how the nearest known row differs",
    )
    options.add_json(parser)
    parser.add_argument(
        "--workload",
        action="store_true",
        help="also draw the workload's inputs and call its reference: do both work?",
    )


def _add_resume(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "resume", commands.resume, "resume a stopped sweep",
        "resume last --rerun failed",
    )  # fmt: skip
    options.add_sweep_name(parser)
    options.add_execution(parser)


def _add_report(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "report",
        commands.report,
        "write the reports again from the journal; of several sweeps one table side by side",
        "report last --format md\n"
        "  orchestrator report last~1 last\n"
        "  orchestrator report full --by device --against 'NVIDIA A100-SXM4-80GB'",
    )
    parser.add_argument("names", metavar=SWEEP, nargs="+", help="which sweep, or which ones")
    parser.add_argument(
        "--by", choices=("sweep", "device", "commit"),
        help="a column for each of these; a name then means every sweep of that name",
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="LABEL", help="the column that ratios are to (default: the first)"
    )
    parser.add_argument(
        "--format", choices=("txt", "md", "csv", "latex", "html", "json"),
        help="print this file instead of the answer; txt: summary.txt",
    )  # fmt: skip
    parser.add_argument(
        "--errors",
        action="store_true",
        help="print every row that is not ok, with its whole reason",
    )
    parser.add_argument(
        "--plots", metavar="DIR", help="write the figures there too, as PNG and SVG"
    )
    options.add_export(parser)
    options.add_table(parser)


def _add_sync(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "sync", commands.sync, "rebuild the MLflow runs from the journal",
        "sync last --tracking-uri http://127.0.0.1:5000",
    )  # fmt: skip
    options.add_sweep_name(parser)
    options.add_tracking(parser)


def _add_list(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "list", commands.list_,
        "list implementations and workloads, what each needs, and whether it is here",
        "list",
    )  # fmt: skip
    parser.add_argument(
        "--explain", action="store_true", help="also how an implementation chooses among its plans"
    )
    options.add_json(parser)


def _add_doctor(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "doctor", commands.doctor, "is this machine fit to measure?", "doctor"
    )
    options.add_tracking(parser)
    parser.add_argument("--address", metavar="RAY_ADDRESS", help="a Ray cluster to look at")
    options.add_json(parser)


def _add_cheats(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "cheats", commands.cheats, "does this harness catch known cheats here?",
        "cheats",
    )  # fmt: skip
    options.add_device(parser, "where to try them (default: auto)")
    options.add_json(parser)


def _add_completion(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "completion", commands.completion, "print the completion script of a shell",
        "completion bash > ~/.orchestrator-completion  # source it in ~/.bashrc",
    )  # fmt: skip
    parser.add_argument("shell", choices=("bash", "zsh"), help="which shell")
