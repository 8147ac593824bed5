"""The guides say what is true: their blocks are carried out, their commands exist, their links lead
somewhere.
"""

import argparse
import contextlib
import io
import re
import shlex

import pytest

from orchestrator.cli.parser import build_parser
from tests.docs.guide import ABOUT_OWN_CODE, DOCS, GUIDES, Guide, carried_out

COMMAND = re.compile(r"(?:^|[\s/])(?:python -m )?orchestrator(?P<rest> [^\n|>&]*)", re.MULTILINE)
PAGE = 140  # lines of 100 columns; a guide is about a page


@pytest.mark.slow
@pytest.mark.timeout(1800)  # of all its blocks, on a machine that does much else
@pytest.mark.parametrize("guide", carried_out(ABOUT_OWN_CODE, others=True), ids=str)
def test_a_guide_does_what_it_says(guide, reader):
    """Every block that is marked for it, in order, in a folder of its own."""
    reader.follow(guide)


def commands(guide):
    """The arguments of every `orchestrator ...` in blocks of a shell or of a workflow."""
    for block in guide.blocks:
        if block.language in ("bash", "console", "yaml"):
            joined = block.body.replace("\\\n", " ")
            for match in re.finditer(COMMAND, joined):
                with contextlib.suppress(ValueError):
                    words = shlex.split(match["rest"], comments=True)
                    if words and "." not in words[0][:1]:
                        yield block.line, words


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_every_command_of_a_guide_is_one(path, monkeypatch):
    """The parser takes it, with these options; nothing is run."""
    monkeypatch.setattr(argparse.ArgumentParser, "exit", refuse)
    parser, known = build_parser()
    for line, words in commands(Guide(path)):
        given = words if words[0] in known or words[0].startswith("-") else ["run", *words]
        if given[0].startswith("-"):
            continue
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                parser.parse_args(given)
            except SystemExit:
                pytest.fail(f"{path.name}:{line}: {' '.join(words)}: {said.getvalue()}")


def refuse(_parser, status=0, message=""):
    raise SystemExit(message or status)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    """Files that a guide links to exist, and so do the headings."""
    for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", path.read_text()):
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), f"{path.name} links to {target}"
        if heading and linked.suffix == ".md":
            assert heading in headings(linked), f"{path.name} links to {target}#{heading}"


def headings(path):
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in found}


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_a_guide_is_about_a_page(path):
    """Short enough to be read to its end; the README has pictures and tables beside its page."""
    lines = path.read_text().count("\n")
    assert lines <= PAGE, f"{path.name} has {lines} lines"


def test_the_index_names_every_guide():
    """Nobody finds what it leaves out."""
    index = (DOCS / "README.md").read_text()
    missing = [
        path.name for path in GUIDES if path.name != "README.md" and f"({path.name})" not in index
    ]
    assert not missing
