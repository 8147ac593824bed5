"""Tables of LOG that came from sweeps are what `report` makes of the committed journals."""

import re
import shutil

import pytest

from tests.docs.guide import DOCS

TABLE = re.compile(
    r"^<!-- orchestrator report docs/journals/(?P<name>\S+) -->\n+```text\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
TABLES = {match["name"]: match["body"] for match in TABLE.finditer((DOCS / "LOG.md").read_text())}


@pytest.mark.parametrize("name", sorted(path.name for path in (DOCS / "journals").iterdir()))
def test_a_table_can_be_made_again_from_its_journal(name, cli, tmp_path):
    """Every journal that is kept has its table in LOG, as `report` prints it."""
    shutil.copytree(DOCS / "journals" / name, tmp_path / name)
    answer = cli("report", tmp_path / name)
    assert TABLES[name].strip(), f"{name} has no table in docs/LOG.md"
    assert TABLES[name].rstrip() in answer.out
