"""How dense the code is: counts per package of a checkout, for a reader to compare before and
after.

    python benchmarks/readability.py [CHECKOUT ...]

These are no limits and no lint rule. Lines are physical lines of Python in orchestrator/ and
implementations/, docstrings and blank lines included; a comment is a token of its own; a private
function counts as used once if its name stands in exactly one other place of the same file.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("orchestrator", "implementations")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
WIDTH = 100


@dataclass
class Counts:
    """Of one checkout."""

    modules: list[int] = field(default_factory=list)  # lines of each
    functions: list[int] = field(default_factory=list)  # lines of each
    comprehensions: int = 0
    nested: int = 0
    ternaries: int = 0
    spreads: int = 0
    comments: int = 0
    wide: int = 0
    used_once: int = 0

    def add(self, text: str) -> None:
        """Count one module."""
        tree = ast.parse(text)
        lines = text.splitlines()
        self.modules.append(len(lines))
        self.wide += sum(len(line) > WIDTH for line in lines)
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            self.comments += token.type == tokenize.COMMENT
        for node in ast.walk(tree):
            self._add_node(node, text)

    def _add_node(self, node: ast.AST, text: str) -> None:
        if isinstance(node, FUNCTIONS):
            self.functions.append((node.end_lineno or node.lineno) - node.lineno + 1)
            private = node.name.startswith("_") and not node.name.startswith("__")
            if private and len(re.findall(rf"\b{node.name}\b", text)) == 2:
                self.used_once += 1
        elif isinstance(node, COMPREHENSIONS):
            self.comprehensions += 1
            inner = [one for one in ast.walk(node) if isinstance(one, COMPREHENSIONS)]
            self.nested += len(inner) > 1 or len(node.generators) > 1
        elif isinstance(node, ast.IfExp):
            self.ternaries += 1
        elif isinstance(node, ast.Starred):
            self.spreads += 1


def count(checkout: Path) -> Counts:
    """The counts of a checkout's packages."""
    found = Counts()
    for package in PACKAGES:
        for file in sorted((checkout / package).rglob("*.py")):
            found.add(file.read_text(encoding="utf-8"))
    return found


def report(name: str, counts: Counts) -> str:
    """One line per figure."""
    lines = sum(counts.modules)
    functions = sorted(counts.functions)
    per_thousand = 1000 / lines
    figures = {
        "modules / lines": f"{len(counts.modules)} / {lines}",
        "module median / max": f"{statistics.median(counts.modules):.0f} / {max(counts.modules)}",
        "function median / p90 / max": f"{statistics.median(functions):.0f} / "
        f"{functions[int(0.9 * len(functions))]} / {functions[-1]}",
        "comprehensions per 1,000 lines": f"{counts.comprehensions * per_thousand:.1f}",
        "of them nested": f"{counts.nested * per_thousand:.1f}",
        "ternaries per 1,000 lines": f"{counts.ternaries * per_thousand:.1f}",
        "starred spreads per 1,000 lines": f"{counts.spreads * per_thousand:.1f}",
        "private functions used once": f"{100 * counts.used_once / len(functions):.0f} %",
        "lines per comment": f"{lines / max(1, counts.comments):.0f}",
        f"lines over {WIDTH} columns": f"{100 * counts.wide / lines:.1f} %",
    }
    rows = [f"  {label:<34} {value}" for label, value in figures.items()]
    return "\n".join([name, *rows])


if __name__ == "__main__":
    checkouts = sys.argv[1:] or [str(Path(__file__).resolve().parents[1])]
    for checkout in checkouts:
        counts = count(Path(checkout))
        if not counts.functions:
            sys.exit(
                f"{checkout}: no functions in {' or '.join(PACKAGES)} there: give the folder of a "
                "checkout"
            )
        print(report(checkout, counts))
