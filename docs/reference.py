"""Writes the reference of every module, from its docstrings, as HTML: `make docs`, or `python
docs/reference.py DIR`.

A module that cannot be imported, a name of `__all__` that is not there and any other complaint of
pdoc is an error.
"""

import importlib
import inspect
import os
import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import implementations
import orchestrator
from orchestrator import compare

# files to be copied, and what runs when imported
LEFT_OUT = ("implementations.starter", "orchestrator.__main__")


def modules(package):
    """What to name to pdoc so that it tells of every module: it walks a package only where
    `__all__` says nothing.
    """
    yield package.__name__
    if not hasattr(package, "__all__"):
        return
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if found.name.startswith(LEFT_OUT):
            continue
        if found.ispkg:
            yield from modules(importlib.import_module(found.name))
        else:
            yield found.name


def write(directory):
    """The pages, and how many modules they tell of."""
    os.environ["PDOC_ALLOW_EXEC"] = (
        "1"  # libraries look at the machine when they are imported; our modules start nothing
    )
    warnings.filterwarnings("error", module="pdoc")
    # names looked up when asked for; pdoc looks, and does not ask
    for package in (orchestrator, compare):
        for name in package.__all__:
            setattr(package, name, getattr(package, name))
    pdoc.render.configure(docformat="google", include_undocumented=False, show_source=False)
    pdoc.pdoc(*modules(orchestrator), *modules(implementations), output_directory=Path(directory))
    return len(list(Path(directory).rglob("*.html")))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(inspect.getdoc(sys.modules[__name__]))
    print(f"{write(sys.argv[1])} pages in {sys.argv[1]}: open {Path(sys.argv[1]) / 'index.html'}")
