"""Options that several commands of the command line share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import RequestError, suggestion
from orchestrator.trackers.address import database_of

SWEEP = "SWEEP_ID|NAME|last|last~1|DIR"
DEVICES = ("auto", "cpu", "cuda")
Options = argparse._ActionsContainer
Handler = Callable[[argparse.Namespace], int]


def add_command(
    subparsers: Any, name: str, handler: Handler, summary: str, example: str
) -> argparse.ArgumentParser:
    """A command: what carries it out, one sentence on it, and an example."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  orchestrator {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def add_sweep_name(parser: Options) -> None:
    """A sweep that was run."""
    parser.add_argument("name", metavar=SWEEP, help="which sweep")


def add_json(parser: Options) -> None:
    """Output for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_format(parser: Options, choices: Sequence[str]) -> None:
    """Output in one of several formats, the first unless stated; `--json` for short."""
    parser.add_argument("--format", choices=choices, default=choices[0], help="output format")
    parser.add_argument(
        "--json", dest="format", action="store_const", const="json", help="= --format json"
    )


def add_sweep_file(parser: argparse.ArgumentParser) -> None:
    """A sweep file, and what narrows it."""
    parser.add_argument("sweep", metavar="SWEEP", help="a sweep file")
    add_narrowing(parser)


def add_narrowing(parser: Options) -> None:
    """Changes of a sweep file, and which of its trials."""
    parser.add_argument(
        "-S", dest="overrides", metavar="PATH=VALUE", action="append", default=[],
        help="override a field of the sweep file, e.g. axes.heads=[8] (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--only", metavar="EXPR", help="keep the trials for which the expression holds"
    )


def add_tracking(parser: Options) -> None:
    """Where runs are tracked."""
    parser.add_argument(
        "--tracking-uri", metavar="URI", type=tracking_uri,
        help="MLflow tracking server (http://HOST:PORT) or store (a file, NAME.db)",
    )  # fmt: skip


def add_execution(parser: Options) -> None:
    """How a sweep is run, and how its table is printed."""
    add_place(parser)
    add_table(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def add_table(parser: Options) -> None:
    """How the table looks."""
    parser.add_argument(
        "--columns",
        metavar="NAMES",
        help="columns of figures, e.g. time,ci,speedup,tflops,gbps,memory",
    )
    parser.add_argument(
        "--sort",
        metavar="COLUMN|shape|table",
        help="order of the rows: by a column, the best first",
    )
    parser.add_argument(
        "--full-grid", action="store_true", help="print the table of summary.txt: every row, ruled"
    )


def add_export(parser: Options) -> None:
    """What a search chose, as a file."""
    parser.add_argument(
        "--export",
        metavar="FILE",
        help="of a search: write what it chose as JSON, which orchestrator.chosen reads",
    )


def add_device(parser: Options, purpose: str) -> None:
    """Which device; `purpose` is the help text."""
    parser.add_argument("--device", type=_device, choices=DEVICES, default="auto", help=purpose)


def add_directory(parser: Options) -> None:
    """Where the results go."""
    parser.add_argument(
        "--output", metavar="DIR", help="directory of the results (default: mlruns/sweeps/NAME/ID)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on in --output, or in the newest sweep of this name",
    )


def add_place(parser: Options) -> None:
    """Where attempts run, and which finished ones again."""
    add_tracking(parser)
    parser.add_argument(
        "--address",
        metavar="RAY_ADDRESS",
        help="a running Ray cluster (default: one started here)",
    )
    add_device(parser, "default: CUDA where there is a GPU")
    parser.add_argument(
        "--rerun", metavar="failed|stale|all|OUTCOME|EXPR",
        help="run these finished trials again (implies --resume)",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings")


def place(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_place` has read, as arguments of `api.run`."""
    from orchestrator.progress.live import progress_for

    return {
        "tracking_uri": options.tracking_uri,
        "address": options.address,
        "device": options.device,
        "rerun": options.rerun,
        "progress": progress_for(options.quiet),
    }


SPELLED = {"overrides": "-S"}  # options whose name is not that of their value
TABLE = ("columns", "sort", "full_grid")  # what `add_table` reads


def refuse(options: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """Refuse options that would do nothing.

    Args:
        options: as they were read.
        names: of the values, as argparse has them; one that was not given is None, empty or False.
        why: what the option does not go with, and what to do.

    Raises:
        RequestError: one of them is given; it names the first.
    """
    for name in names:
        value = getattr(options, name, None)
        if value and (name, value) != ("device", "auto"):  # its default
            spelled = SPELLED.get(name, "--" + name.replace("_", "-"))
            raise RequestError(f"{spelled} {why}")


def _device(text: str) -> str:
    if text not in DEVICES:
        raise argparse.ArgumentTypeError(
            f"no device {text!r}{suggestion(text, DEVICES)}; use {', '.join(DEVICES)}"
        )
    return text


def tracking_uri(text: str) -> str:
    """An MLflow address; the file of a store by its path, which `doctor` prints, too."""
    if ":" in text or text.startswith("databricks"):
        return text
    if text.endswith(".db"):
        return f"sqlite:///{Path(text).absolute()}"
    raise argparse.ArgumentTypeError(
        f"{text!r} is no tracking server and no store: give http://HOST:PORT, or a file NAME.db"
    )


def store_uri(text: str) -> str:
    """What `ui` opens: a store that is there. A server has a UI of its own."""
    if text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(
            f"{text} is a server, which has a UI of its own: open it in a browser"
        )
    uri = tracking_uri(text)
    file = database_of(uri)
    if file is not None and not file.is_file():
        raise argparse.ArgumentTypeError(f"there is no store {file}: a sweep makes it")
    return uri


def percent(text: str) -> float:
    """`5%` or `0.05` as a fraction."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage: give 5% or 0.05") from None
    if not text.endswith("%") and 1 <= value < 1000:
        raise argparse.ArgumentTypeError(
            f"{text!r} would be {value:.0%}: give {text}%, or 0.05 for 5%"
        )
    if not 0 < value < 10:
        raise argparse.ArgumentTypeError(
            f"{text!r} is out of range: give more than 0% and less than 1000%"
        )
    return value


def factor(text: str) -> float:
    """`4`, `1.5x`: more than 1."""
    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a factor: give 4, or 1.5") from None
    if not 1 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is out of range: give more than 1")
    return value
