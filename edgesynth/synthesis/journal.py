"""The journal of a run: what has been found out so far, in one SQLite file that survives being killed.

Facts are written once, by (kind, key), in the order in which they came to be known; a fact is there whole or not at
all. A run that is resumed asks the journal before it does anything, so nothing finished is done twice.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from edgesynth.errors import RunError, StorageError

__all__ = ["FILE", "VERSION", "Journal"]

FILE = "journal.sqlite"
VERSION = 2
"""Version of the journal's meaning. A run directory of another version is refused, never guessed at."""

APPLICATION = 0x65647379  # "edsy": tells our files from other people's SQLite files

_SCHEMA = """
CREATE TABLE facts (
    number INTEGER PRIMARY KEY,
    kind   TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    data   BLOB,
    UNIQUE (kind, key)
)
"""
_INSERT = "INSERT INTO facts (kind, key, value, data) VALUES (?, ?, ?, ?)"


class Journal:
    """One open journal. Holds the run directory's lock; use it as a context manager.

    Not shared between threads. Raises RunError when the directory is no run, in use, or of another version, and
    StorageError when the disk refuses; facts recorded before stay intact.
    """

    def __init__(self, run: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.run = run
        self._connection = connection
        self._lock = lock

    @classmethod
    def create(cls, run: Path, question: Any = None) -> "Journal":
        """Start a journal in a directory that holds none yet; makes the directory.

        What the run is asked stands in it from the first, as the fact ("run", "question"): one that is killed right
        after its start can be resumed. Without a question there is no such fact.
        """
        asked = None if question is None else json.dumps(question, allow_nan=False)
        try:
            run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the run directory {run}: {error.strerror}") from error
        lock = _take_lock(run)
        try:
            if (run / FILE).exists():
                raise RunError(f"{run} holds a run already: go on with --resume, or give another --out")
            # The name appears when all is in it: a kill in between leaves no half journal.
            fresh = run / (FILE + ".new")
            with _storage(run):
                fresh.unlink(missing_ok=True)
                with closing(sqlite3.connect(fresh)) as connection:
                    connection.executescript(
                        f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; {_SCHEMA};"
                    )
                    if asked is not None:
                        with connection:
                            connection.execute(_INSERT, ("run", "question", asked, None))
                fresh.rename(run / FILE)
            return cls(run, _connect(run), lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def open(cls, run: Path) -> "Journal":
        """Open the journal of an existing run."""
        if not (run / FILE).is_file():
            raise RunError(f"{run} is no run directory: it has no {FILE}")
        lock = _take_lock(run)
        try:
            return cls(run, _connect(run), lock)
        except BaseException:
            os.close(lock)
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file and the lock."""
        with suppress(sqlite3.Error):
            self._connection.close()
        os.close(self._lock)

    def abandon(self) -> None:
        """Take the journal away again; the lock stays until `close`. For a run that found out nothing."""
        with suppress(sqlite3.Error):
            self._connection.close()
        for name in (FILE, FILE + "-wal", FILE + "-shm"):
            (self.run / name).unlink(missing_ok=True)

    def get(self, kind: str, key: str) -> Any | None:
        """The fact of that kind and key, or None."""
        row = self._execute("SELECT value FROM facts WHERE kind = ? AND key = ?", kind, key).fetchone()
        return None if row is None else json.loads(row[0])

    def data(self, kind: str, key: str) -> bytes | None:
        """The bytes that were recorded with a fact, or None."""
        row = self._execute("SELECT data FROM facts WHERE kind = ? AND key = ?", kind, key).fetchone()
        return None if row is None else row[0]

    def all(self, kind: str) -> list[Any]:
        """All facts of a kind, in the order in which they were recorded."""
        rows = self._execute("SELECT value FROM facts WHERE kind = ? ORDER BY number", kind)
        return [json.loads(row[0]) for row in rows]

    def put(self, kind: str, key: str, value: Any, data: bytes | None = None) -> None:
        """Record a fact for good. Recording one again under the same key is a mistake: ValueError."""
        text = json.dumps(value, allow_nan=False)
        try:
            with self._connection:
                self._execute(_INSERT, kind, key, text, data)
        except sqlite3.IntegrityError as error:
            raise ValueError(f"the journal has {kind} '{key}' already") from error
        except sqlite3.Error as error:  # raised by the commit itself
            raise _refused(self.run, error) from error

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        with _storage(self.run):
            return self._connection.execute(statement, values)


@contextmanager
def _storage(run: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise _refused(run, error) from error


def _refused(run: Path, error: Exception) -> StorageError:
    return StorageError(
        f"cannot write to {run}: {error}; what was found out before is intact, free some space and use --resume"
    )


def _connect(run: Path) -> sqlite3.Connection:
    with _storage(run):
        connection = sqlite3.connect(run / FILE)
        try:
            # Before anything else: the next statement would already change somebody else's file.
            _check_version(run, connection)
            # Write-ahead logging, synced at each commit: what was recorded survives a power cut as well.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.DatabaseError as error:
            connection.close()
            if error.sqlite_errorname in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                raise RunError(f"{run / FILE} is no edgesynth journal: the file is damaged or foreign") from error
            raise
        except BaseException:
            connection.close()
            raise
        return connection


def _check_version(run: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise RunError(f"{run / FILE} is no edgesynth journal: give another directory")
    if version != VERSION:
        raise RunError(
            f"{run} was made by another version of edgesynth (journal {version}, this one writes {VERSION}): "
            "use that version, or start a new run with another --out"
        )


def _take_lock(run: Path) -> int:
    try:
        handle = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(f"cannot write to {run}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise RunError(f"{run} is in use by another edgesynth: wait for it, or give another --out") from error
    return handle
