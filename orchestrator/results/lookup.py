"""Finds sweeps by id, by name, as `last` or `last~1`, or by directory; and trials by id."""

from __future__ import annotations

import difflib
import re
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import OrchestratorError, RequestError, SweepNotFoundError
from orchestrator.formatting import counted
from orchestrator.results import journal
from orchestrator.results.results import Results
from orchestrator.results.sweep_directory import (
    META_FILE,
    SWEEPS,
    is_imported,
    load,
    load_meta,
)
from orchestrator.trial import Trial

SHORTEST_ID = 6  # digits of a trial id that may stand for the whole
_LAST = re.compile(r"last(?:~(\d{1,6}))?")
_TRIAL_ID = re.compile(rf"[0-9a-f]{{{SHORTEST_ID},16}}")


def directories(name: str | None = None) -> list[Path]:
    """The directories of the sweeps under SWEEPS, oldest first; with `name` those of that name."""
    folder = "*" if name is None else name
    found = [path.parent for path in SWEEPS.glob(f"{folder}/*/{META_FILE}")]
    return sorted(found, key=lambda path: path.name)


def run_here() -> list[Path]:
    """The same without those that came by `import`."""
    return [path for path in directories() if not is_imported(path)]


def find(name: str) -> Path:
    """The directory of a sweep.

    Args:
        name: a directory, a results.jsonl, an id, `last` (the newest), `last~N` (N before it), or a
            sweep's name or the folder of that name (the newest of it that was run here; where none
            was, the newest that was imported).

    Raises:
        SweepNotFoundError: there is none; says where it was looked for, and what is near.
    """
    given = Path(name)
    with suppress(OSError, ValueError):  # a name too long, or with a zero in it, is no directory's
        if given.name == journal.FILE_NAME and given.is_file():
            return given.parent
        if (given / META_FILE).is_file():
            return given
        inside = [path.parent for path in given.glob(f"*/{META_FILE}")]
        if inside:
            return _newest(sorted(inside, key=lambda path: path.name))
    known = directories()
    last = _LAST.fullmatch(name)
    if last and known:
        back = int(last[1] or 0)
        own = run_here()
        if back < len(own):
            return own[-1 - back]
        if len(own) < len(known):
            raise SweepNotFoundError(
                f"{name}: {len(own)} of {len(known)} sweeps under {SWEEPS} were run here; "
                "an imported one is named by its id"
            )
        raise SweepNotFoundError(f"{name}: {counted(len(own), 'sweep')} under {SWEEPS}, no more")
    by_id = [path for path in known if path.name == name]
    by_name = [path for path in known if path.parent.name == name]
    if by_id or by_name:
        return _newest(by_id or by_name)
    raise SweepNotFoundError(_not_found(name, known))


def _newest(oldest_first: list[Path]) -> Path:
    """The last that was run here; where none was, the last."""
    own = [path for path in oldest_first if not is_imported(path)]
    return (own or oldest_first)[-1]


def before(directory: Path) -> Path:
    """The sweep of the same name that was started here before the one in `directory`.

    Raises:
        SweepNotFoundError: it is the first of its name.
    """
    results = load(directory)
    sweep_id = results.meta.sweep_id
    for path in reversed(directories(results.meta.name)):
        # an id begins with the time of the sweep's start
        if path.name < sweep_id and not is_imported(path):
            return path
    raise SweepNotFoundError(
        f"{sweep_id} is the first sweep named {results.meta.name!r} under {SWEEPS}: "
        "name the one to compare it with (`orchestrator sweeps` lists them)"
    )


def is_trial_id(name: str) -> bool:
    """Whether a name may be a trial's id, or the beginning of one."""
    return _TRIAL_ID.fullmatch(name) is not None


def trial(trial_id: str, sweep: str | None = None) -> tuple[Results, Trial]:
    """A trial by its id or its first digits: of one sweep, or of the newest that has it.

    Raises:
        SweepNotFoundError: no sweep has such a trial.
        RequestError: the digits stand for several trials of one sweep.
    """
    if sweep is not None:
        places = [find(sweep)]
    else:
        places = run_here()[::-1]  # the newest first
    for place in places:
        try:
            meta = load_meta(place)
        except OrchestratorError:
            if sweep is not None:
                raise
            continue  # a sweep that cannot be read must not hide the others
        found = {}
        for known in meta.planned:
            if known.trial_id.startswith(trial_id):
                found[known.trial_id] = known
        if len(found) > 1:
            raise RequestError(
                f"{trial_id} stands for {len(found)} trials of {place.name}: give more digits"
            )
        if found:
            _, chosen = found.popitem()
            return load(place), chosen
    where = f"{counted(len(places), 'sweep')} under {Path.cwd() / SWEEPS}"
    if sweep is not None:
        where = f"the sweep {sweep}"
    elif not places:
        where = f"any sweep: none was run under {Path.cwd()}"
    raise SweepNotFoundError(f"no trial {trial_id} in {where}; --sweep DIR names another sweep")


def _not_found(name: str, known: list[Path]) -> str:
    """Why a name stands for no sweep, and what is near."""
    if Path(name).suffix in (".yaml", ".yml"):
        return (
            f"{name} is a sweep file, and a sweep that was run is wanted: "
            "run it first, then give its id, or `last`"
        )
    if not known:
        return (
            f"no sweeps under ./{SWEEPS}: results are kept where a sweep was started; "
            "go there, or give the sweep's directory"
        )
    names = {"last"}
    for path in known:
        names |= {path.name, path.parent.name}
    near = difflib.get_close_matches(name, sorted(names), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    newest = ", ".join(path.name for path in known[-3:])
    return (
        f"no sweep {name!r}{hint}: give an id, a sweep's name, `last`, `last~1`, or a directory; "
        f"the newest here are {newest} (`orchestrator sweeps` lists them)"
    )
