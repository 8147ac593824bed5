"""Outputs by name, as a workload's own judge asks for them."""

from __future__ import annotations

from typing import Any

from orchestrator.usercode.values.trees import ROOT

OUTPUT = "output"  # what a call returns, where it is one tensor


class ByName(dict[str, Any]):
    """Outputs by name; one that is alone is `output` and `out`.

    Raises:
        KeyError: there is no output of that name; with those that there are.
    """

    def __missing__(self, name: str) -> Any:
        """The output under its other name."""
        other = {ROOT: OUTPUT, OUTPUT: ROOT}.get(name)
        if other is not None and set(self) == {other}:
            return dict.__getitem__(self, other)
        raise KeyError(f"there is no output {name!r}; there is {', '.join(self)}")


def output_of(line: str) -> str:
    """The output that a line of a judge stands for: what its name begins with, before a colon."""
    name = line.split(":")[0].strip()
    return OUTPUT if name == ROOT else name
