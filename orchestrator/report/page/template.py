"""Templates and assets of the pages, and the policy that lets only their own scripts run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from markupsafe import Markup

from orchestrator.formatting import number
from orchestrator.report.ranking import ratio

CODE, TEXT = Markup("<code>{}</code>"), Markup("{}")


def rendered(template: str, scripts: Sequence[str], **values: Any) -> str:
    """A template with `scripts` and the style inside it: one file that loads nothing else."""
    from jinja2 import Environment, StrictUndefined  # not needed for any other report

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"ratio": ratio, "number": number, "commands": commands}
    texts = [asset(name) for name in scripts]
    page = environment.from_string(asset(template))
    return page.render(policy=policy(texts), style=asset("page.css"), scripts=texts, **values)


def commands(text: str) -> Markup:
    """A sentence with what stands between backticks as code, all of it as text."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one that nothing closes
        return TEXT.format(text)
    found = Markup("")
    for place, part in enumerate(parts):
        piece = CODE if place % 2 else TEXT
        found += piece.format(part)
    return found


@cache
def asset(name: str) -> str:
    """The text of a file in `assets`."""
    file = resources.files("orchestrator.report.page") / "assets" / name
    return file.read_text(encoding="utf-8")


def policy(scripts: Sequence[str]) -> str:
    """Only our own scripts run, and nothing is fetched: what a label smuggles in stays text."""
    sources = []
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        sources.append(f"'sha256-{digest}'")
    allowed = " ".join(sources) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
