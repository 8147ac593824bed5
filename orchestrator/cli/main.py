"""The command line: parse, call, print, exit code. stdout carries the result; progress and messages
go to stderr.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from orchestrator.cli.parser import build_parser
from orchestrator.errors import AbortedError, OrchestratorError
from orchestrator.formatting import fitted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser, commands = build_parser()
    if given and given[0] not in {*commands, "-h", "--help", "--version"}:
        _refuse_near_command(given[0], commands, parser)
        given.insert(0, "run")
    options, unknown = parser.parse_known_args(given)
    if unknown:
        _refuse_unknown(unknown, commands.get(given[0], parser))
    if not hasattr(options, "handler"):
        parser.print_help(sys.stderr)
        return 2
    try:
        code = int(options.handler(options))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except OrchestratorError as error:
        space = "\n" if "\n" in str(error) else " "  # of several lines each begins at the left
        print(fitted(f"error:{space}{error}", sys.stderr), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `... | head` closed our stdout
        _silence_stdout()
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        _silence_stdout()
        return AbortedError.exit_code


def _refuse_near_command(
    name: str, commands: Iterable[str], parser: argparse.ArgumentParser
) -> None:
    """A word that is no file and nearly a command is a slip of the finger, not a sweep file."""
    near = difflib.get_close_matches(name, commands, n=1)
    if near and not os.path.lexists(name):
        parser.error(
            f"there is no command {name!r}, and no sweep file of that name "
            f"(did you mean {near[0]!r}?)"
        )


def _refuse_unknown(unknown: Sequence[str], parser: argparse.ArgumentParser) -> NoReturn:
    """An option that the command does not have, with the nearest that it has."""
    name = unknown[0].partition("=")[0]
    near = difflib.get_close_matches(name, re.findall(r"--[a-z-]+", parser.format_usage()), n=1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    parser.error(f"no option or argument {name!r}{meant}")


def _silence_stdout() -> None:
    """Point stdout at /dev/null: its reader is gone, and Python's flush at exit would fail."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
