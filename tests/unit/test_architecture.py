"""What a newcomer counts on: packages that fit on a screen, arrows that never turn round."""

from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
MOST_MODULES = 15


@pytest.fixture(scope="module")
def graph():
    """Who imports whom, those inside functions included."""
    return grimp.build_graph(
        "orchestrator", "implementations", exclude_type_checking_imports=True, cache_dir=None
    )


def test_no_file_imports_itself_by_way_of_others(graph):
    """A circle of files can only be read as one file."""
    circles = []
    for module in sorted(graph.modules):
        for imported in graph.find_modules_directly_imported_by(module):
            chain = graph.find_shortest_chain(imported, module)
            if chain and imported != module:
                circles.append(" > ".join([module, *chain]))
    assert circles == []


def test_no_package_has_more_modules_than_one_can_survey():
    """Besides its `__init__`."""
    crowded = {}
    for folder in [ROOT / "orchestrator", *(ROOT / "orchestrator").rglob("*/")]:
        modules = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
        if len(modules) > MOST_MODULES:
            crowded[folder.name] = len(modules)
    assert crowded == {}
