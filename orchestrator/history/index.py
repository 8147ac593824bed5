"""index.sqlite beside the sweeps' folders: where each row is, and its figures.

It is made of the journals and never instead of them: a file that is missing, damaged or of another
version is made anew, and a sweep whose journal has changed is read again. Whoever takes a record
reads it from its journal.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.errors import IndexBusyError, IndexDamagedError, RequestError
from orchestrator.history.reading import IndexedRow, IndexedSweep, read_sweep
from orchestrator.record import SCHEMA_VERSION
from orchestrator.results import journal
from orchestrator.results.sweep_directory import META_FILE, SWEEPS
from orchestrator.spec.models import MeasureSpec, SweepSpec, VerifySpec

FILE_NAME = "index.sqlite"
LOCK_NAME = ".index.lock"
TABLES = 3  # raised whenever SCHEMA changes
WAIT_S = 60.0
SWEEPS_A_COMMIT = 20
Found = TypeVar("Found")
Environment = tuple[dict[str, Any], dict[str, Any]]  # what must match, what to know

SCHEMA = """
CREATE TABLE sweep (
    number INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE, stamp TEXT, sweep_id TEXT,
    name TEXT, created_at TEXT, device TEXT, imported INTEGER, asked TEXT, controls TEXT, error TEXT
);
CREATE TABLE word (number INTEGER PRIMARY KEY, text TEXT UNIQUE);
CREATE TABLE trial (
    number INTEGER PRIMARY KEY, trial_id TEXT UNIQUE, implementation TEXT, params TEXT, options TEXT
);
CREATE TABLE environment (
    sweep INTEGER, hash TEXT, match TEXT, know TEXT, PRIMARY KEY (sweep, hash)
);
CREATE TABLE row (
    trial INTEGER, sweep INTEGER, outcome INTEGER, flags INTEGER, source INTEGER,
    environment INTEGER, protocol INTEGER, card INTEGER, host INTEGER, reused_from INTEGER,
    reusable INTEGER, finished REAL, latency REAL, low REAL, high REAL, names INTEGER,
    figures TEXT, places TEXT, PRIMARY KEY (trial, sweep)
) WITHOUT ROWID;
CREATE INDEX row_of_sweep ON row (sweep);
CREATE INDEX row_to_reuse ON row (trial, source, protocol, finished, sweep) WHERE reusable = 1;
"""
INSERT_ROW = (
    "INSERT OR REPLACE INTO row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def version() -> int:
    """Of the file: another where the tables, or the fields of a sweep file, are others."""
    fields = [sorted(model.model_fields) for model in (SweepSpec, MeasureSpec, VerifySpec)]
    content = json.dumps([TABLES, SCHEMA_VERSION, *fields])
    return zlib.crc32(content.encode()) & 0x7FFFFFFF


@dataclass(frozen=True)
class Entry:
    """A sweep that the index has.

    Attributes:
        directory: of the sweep.
        asked: see `identity.asked`.
        controls: of each control (`machine.observation`) the least and the most it took, in ms.
        imported: whether it came by `import`, from another machine perhaps.
    """

    number: int
    directory: Path
    sweep_id: str
    name: str
    created_at: str
    device: str
    imported: bool
    asked: dict[str, Any]
    controls: dict[str, tuple[float, float]]


class Index:
    """The index of one results folder, brought up to date when it is opened.

    Where the folder cannot be written, the index is made in memory.

    Args:
        folder: which has a folder for each sweep's name.
    """

    def __init__(self, folder: Path = SWEEPS) -> None:
        self.folder = folder
        self._words: dict[str, int] = {}
        self._environments: dict[tuple[int, str], Environment] = {}
        self._connection = self._opened()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def select(self, query: str, values: Iterable[Any] = ()) -> list[Any]:
        """The lines that a query finds.

        Raises:
            IndexDamagedError: as by `each`.
        """
        return list(self.each(query, values))

    def each(self, query: str, values: Iterable[Any] = ()) -> Iterator[Any]:
        """The same one after the other, as far as they are wanted.

        Raises:
            IndexDamagedError: the file turns out to be damaged, and has been removed: the next that
                opens it makes it anew.
            IndexBusyError: another process has held it for WAIT_S.
        """
        try:
            yield from self._connection.execute(query, tuple(values))
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from None

    @contextmanager
    def as_of_now(self) -> Iterator[Index]:
        """The index as it is now, whatever other processes write meanwhile; they wait for it."""
        self._connection.execute("BEGIN")
        try:
            yield self
        finally:
            with suppress(sqlite3.Error):
                self._connection.rollback()

    def _explained(self, error: sqlite3.DatabaseError) -> RequestError:
        path = self.folder / FILE_NAME
        if _is_locked(error):
            return IndexBusyError(
                f"{path}: another process has held it for {WAIT_S:.0f} s: wait for it, or stop it"
            )
        with suppress(OSError), _locked(self.folder / LOCK_NAME):
            _remove_file(path)
        return IndexDamagedError(
            f"{path} is damaged ({error}): remove it, and give the command again; it is made anew "
            "from the journals. If that does not last, the disk or its file system is at fault"
        )

    def words(self) -> dict[int, str]:
        """Every text by its number."""
        return dict(self.select("SELECT number, text FROM word"))

    def sweeps(self) -> dict[int, Entry]:
        """The sweeps that could be read, by number."""
        found = {}
        for line in self.select(
            "SELECT number, path, sweep_id, name, created_at, device, imported, asked, controls "
            "FROM sweep WHERE error IS NULL"
        ):
            number, path, sweep_id, name, created_at, device, imported, asked, controls = line
            directory = self.folder / path
            found[number] = Entry(
                number, directory, sweep_id, name, created_at, device, bool(imported),
                json.loads(asked), json.loads(controls),
            )  # fmt: skip
        return found

    def unreadable(self) -> list[tuple[str, str]]:
        """(path, reason) of the sweeps that could not be read."""
        return self.select("SELECT path, error FROM sweep WHERE error IS NOT NULL ORDER BY path")

    def environment(self, sweep: int, hash_: str) -> Environment:
        """What must match and what to know of an environment of a sweep; empty: not known.

        Looked up once: every row of a sweep asks for the same.
        """
        key = (sweep, hash_)
        if key not in self._environments:
            lines = self.select(
                "SELECT match, know FROM environment WHERE sweep = ? AND hash = ?", key
            )
            match, know = lines[0] if lines else ("{}", "{}")
            self._environments[key] = (json.loads(match), json.loads(know))
        return self._environments[key]

    def _opened(self) -> sqlite3.Connection:
        """A connection to an index that is up to date; damaged or old ones are made anew."""
        try:
            with suppress(sqlite3.Error), ExitStack() as stack:
                connection = stack.enter_context(closing(_connected(self.folder / FILE_NAME)))
                if _is_current(connection, _stamps(self.folder)):
                    stack.pop_all()
                    return connection
            with _locked(self.folder / LOCK_NAME):
                return self._made(self.folder / FILE_NAME)
        except (OSError, sqlite3.Error):  # there is no such folder, or it is not ours to write
            return self._filled(sqlite3.connect(":memory:"))

    def _made(self, path: Path) -> sqlite3.Connection:
        try:
            return self._filled(_connected(path))
        except sqlite3.DatabaseError as error:
            if _is_locked(error):
                raise
        _remove_file(path)
        return self._filled(_connected(path))

    def _filled(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """The same, with every sweep as it is now.

        The stamps are taken here, under the lock: older ones would undo what another process did
        while this one waited for it.
        """
        try:
            _check_version(connection)
            stamps = _stamps(self.folder)
            known = dict(connection.execute("SELECT path, stamp FROM sweep"))
            gone = known.keys() - stamps.keys()
            changed = [path for path, stamp in stamps.items() if known.get(path) != stamp]
            self._words = dict(connection.execute("SELECT text, number FROM word"))
            for path in gone:
                _remove(connection, path)
            for count, path in enumerate(changed, start=1):
                _remove(connection, path)
                self._add(connection, path, stamps[path])
                if count % SWEEPS_A_COMMIT == 0:
                    connection.commit()
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _add(self, connection: sqlite3.Connection, path: str, stamp: str) -> None:
        found = read_sweep(self.folder / path)
        number = _add_sweep(connection, path, stamp, found)
        for hash_, (match, know) in found.environments.items():
            facts = (number, hash_, json.dumps(match), json.dumps(know))
            connection.execute("INSERT OR REPLACE INTO environment VALUES (?, ?, ?, ?)", facts)
        lines = [self._line(connection, number, row) for row in found.rows]
        connection.executemany(INSERT_ROW, lines)

    def _line(self, connection: sqlite3.Connection, sweep: int, row: IndexedRow) -> tuple[Any, ...]:
        trial = row.trial
        known = connection.execute(
            "SELECT number FROM trial WHERE trial_id = ?", (trial.trial_id,)
        ).fetchone()
        if known is None:
            cursor = connection.execute(
                "INSERT INTO trial VALUES (NULL, ?, ?, ?, ?)",
                (trial.trial_id, trial.implementation, json.dumps(trial.params),
                 json.dumps(trial.options)),
            )  # fmt: skip
            known = (cursor.lastrowid,)
        texts = (row.outcome, row.flags, row.source, row.environment, row.protocol, row.card,
                 row.host, row.reused_from)  # fmt: skip
        numbers = [self._number(connection, text) for text in texts]
        names = self._number(connection, json.dumps(row.names))
        return (
            known[0], sweep, *numbers, row.reusable, row.finished, row.latency, row.low,
            row.high, names, row.figures, row.places,
        )  # fmt: skip

    def _number(self, connection: sqlite3.Connection, text: str) -> int:
        number = self._words.get(text)
        if number is None:
            cursor = connection.execute("INSERT INTO word VALUES (NULL, ?)", (text,))
            number = self._words[text] = int(cursor.lastrowid or 0)
        return number


def read_index(use: Callable[[Index], Found], folder: Path = SWEEPS) -> Found:
    """What `use` makes of the index as it is at one moment.

    An index that turns out to be damaged meanwhile is made anew, and used once more.

    Raises:
        IndexDamagedError: it is damaged again.
    """
    try:
        with Index(folder) as index, index.as_of_now():
            return use(index)
    except IndexDamagedError:
        with Index(folder) as index, index.as_of_now():
            return use(index)


def _add_sweep(connection: sqlite3.Connection, path: str, stamp: str, found: IndexedSweep) -> int:
    cursor = connection.execute(
        "INSERT INTO sweep VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (path, stamp, found.sweep_id, found.name, found.created_at, found.device, found.imported,
         json.dumps(found.asked), json.dumps(found.controls), found.error),
    )  # fmt: skip
    return int(cursor.lastrowid or 0)


def _stamps(folder: Path) -> dict[str, str]:
    """Path of each sweep below the folder -> sizes and times of change of what is read of it."""
    found = {}
    for name in _folders(folder):
        for sweep in _folders(name):
            parts = []
            for file in (META_FILE, journal.FILE_NAME):
                with suppress(OSError):
                    seen = os.stat(f"{sweep}/{file}")  # noqa: PTH116, twice as fast as by Path
                    parts.append(f"{file} {seen.st_size} {seen.st_mtime_ns}")
            if parts and parts[0].startswith(META_FILE):
                found[sweep.removeprefix(f"{folder}/")] = "; ".join(parts)
    return found


def _folders(folder: Path | str) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        yield from sorted(
            entry.path for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )


def _is_locked(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _remove_file(path: Path) -> None:
    for name in (path.name, f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_S)
    try:
        connection.execute("PRAGMA synchronous = OFF")  # a torn index is made anew
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _is_current(connection: sqlite3.Connection, stamps: dict[str, str]) -> bool:
    with closing(connection.execute("PRAGMA user_version")) as found:
        if found.fetchone()[0] != version():
            return False
    return dict(connection.execute("SELECT path, stamp FROM sweep")) == stamps


def _check_version(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file.

    Raises:
        sqlite3.DatabaseError: it is a file of another version.
    """
    held = connection.execute("PRAGMA user_version").fetchone()[0]
    if held == version():
        return
    if held or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise sqlite3.DatabaseError(f"an index of version {held}")
    connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {version()}; COMMIT;")


def _remove(connection: sqlite3.Connection, path: str) -> None:
    held = connection.execute("SELECT number FROM sweep WHERE path = ?", (path,)).fetchone()
    if held is not None:
        connection.execute("DELETE FROM row WHERE sweep = ?", held)
        connection.execute("DELETE FROM environment WHERE sweep = ?", held)
        connection.execute("DELETE FROM sweep WHERE number = ?", held)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time makes or mends the index.

    Raises:
        OSError: the folder is not there, or cannot be written.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
