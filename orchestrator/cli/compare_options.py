"""`compare` as argparse reads it."""

from __future__ import annotations

from typing import Any

from orchestrator.cli import comparing, options
from orchestrator.cli.options import add_command


def add(subparsers: Any) -> None:
    """The command, its options and examples."""
    parser = add_command(
        subparsers,
        "compare",
        comparing.compare,
        "compare two sweeps row by row, or measure two implementations of one in turns",
        "compare last --fail-slower 5%\n"
        "  orchestrator compare 20261122_093000_ab12 last\n"
        "  orchestrator compare --duel standard improved sweeps/quick.yaml\n"
        "  orchestrator compare ../base/sweeps/quick.yaml sweeps/quick.yaml --again",
    )
    parser.add_argument(
        "base", metavar="BASE",
        help="a sweep by id, name, last~1 or directory, or a results.jsonl; with --duel a label; "
        "with --again a sweep file, too",
    )  # fmt: skip
    parser.add_argument(
        "candidate", metavar="CANDIDATE", nargs="?",
        help="same forms as BASE; left out: BASE is compared with the sweep of the same name "
        "before it",
    )  # fmt: skip
    parser.add_argument(
        "sweep", metavar="SWEEP", nargs="?", help="with --duel: the sweep file with both labels"
    )
    parser.add_argument(
        "--duel", action="store_true",
        help="measure both in turns, in one process and over fresh ones: the way to settle "
        "a close call",
    )  # fmt: skip
    parser.add_argument(
        "--again", action="store_true",
        help="measure both now, in turns: in one process where only files that the sweep names "
        "differ, else each in its own checkout, round by round",
    )  # fmt: skip
    parser.add_argument(
        "--fail-slower",
        metavar="PERCENT",
        type=options.percent,
        help="a slow-down from here on is a regression",
    )
    parser.add_argument(
        "--fail-unclear", action="store_true", help="fail on rows whose verdict is unclear"
    )
    parser.add_argument(
        "--fail-memory",
        metavar="PERCENT",
        type=options.percent,
        help="fail on rows whose peak memory grew by this much or more",
    )
    parser.add_argument(
        "--fail-error",
        metavar="FACTOR",
        type=options.factor,
        help="fail on rows whose relative error grew by this factor or more",
    )
    parser.add_argument(
        "--same-machine",
        action="store_true",
        help="of one sweep: against the newest of its name on a machine like its own",
    )
    parser.add_argument(
        "--same-code", action="store_true", help="compare although both sides are the same code"
    )
    parser.add_argument(
        "--force", action="store_true", help="compare two sweeps although the environments differ"
    )
    options.add_format(parser, ("table", "md", "html", "json"))
    run = parser.add_argument_group("options for --duel and --again (same as for run)")
    options.add_narrowing(run)
    options.add_directory(run)
    options.add_place(run)
