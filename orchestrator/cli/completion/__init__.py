"""Completion for bash and zsh: subcommands, options, sweep files and sweep ids, for `python -m
orchestrator` too.

shtab turns the parser into shell functions; bash.sh and zsh.sh beside this file hold what it cannot
know.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.resources import files

NAME = "orchestrator"
SHELLS = ("bash", "zsh")
LOOKUPS = {  # metavar of an argument -> the function that knows its values
    "SWEEP": "_orchestrator_sweep_files",
    "SWEEP_ID|NAME|last|last~1|DIR": "_orchestrator_sweep_ids",
    "BASE": "_orchestrator_sweep_ids",
    "CANDIDATE": "_orchestrator_sweep_ids",
    "DIR": "_orchestrator_folders",
}
# where shtab's own registration begins
REGISTERING = {"bash": "complete ", "zsh": "typeset -A opt_args"}


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script, to be sourced, of the command line that `parser` reads, for "bash" or
    "zsh".
    """
    import shtab

    parser.prog = NAME
    for action in _actions(parser):
        lookup = LOOKUPS.get(str(action.metavar))
        if lookup is not None:
            action.complete = dict.fromkeys(SHELLS, lookup)  # type: ignore[attr-defined]
    generated = shtab.complete(parser, shell, root_prefix=NAME)
    functions = generated.rpartition(f"\n{REGISTERING[shell]}")[0].splitlines()
    printed = f"python -m {NAME} completion {shell}"
    lines = [f"# Completion of {NAME} for {shell}. To use it: source <({printed})"]
    lines += [line for line in functions if not line.startswith("#")]
    commands: list[str] = []
    for subparsers in _subparsers(parser):
        commands += subparsers.choices
    lines.append(f'_orchestrator_commands="{" ".join(commands)}"')
    lines.append((files(__name__) / f"{shell}.sh").read_text())
    return "\n".join(lines)


def _subparsers(
    parser: argparse.ArgumentParser,
) -> list[argparse._SubParsersAction[argparse.ArgumentParser]]:
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    yield from parser._actions
    for action in _subparsers(parser):
        for inner in action.choices.values():
            yield from _actions(inner)
