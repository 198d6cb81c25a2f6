"""The SQLite file of the jobs: one that is damaged is moved aside, so that a device on a shelf comes up."""

import os
import sqlite3
from typing import List, Optional, Tuple

from edgesynth_agent.files import sync_folder

__all__ = ["damaged_files", "open_database"]

_MOST_DAMAGED = 9
_PARTS = ("-wal", "-shm", "")  # the file itself last: a log of changes must never be found beside a new one


def open_database(path: str) -> Tuple[sqlite3.Connection, Optional[str]]:
    """The database at `path`, in WAL mode, and where a damaged one was moved that was there, if one was.

    Raises sqlite3.Error when it cannot be opened for another reason, OSError when it cannot be moved.
    """
    try:
        return _open(path), None
    except sqlite3.DatabaseError as error:
        # The subclasses are about the disk, locks and wrong use; the class itself is SQLITE_CORRUPT and SQLITE_NOTADB.
        if type(error) is not sqlite3.DatabaseError:
            raise
    moved = _move_aside(path)
    return _open(path), moved


def damaged_files(path: str) -> List[str]:
    """Those that were moved aside and are still there."""
    return [name for name in _names(path) if os.path.exists(name)]


def _open(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA journal_mode = WAL")
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    except BaseException:
        database.close()
        raise
    return database


def _move_aside(path: str) -> str:
    """To the first free name, or to the last of all: a disk that dies must not fill itself up. The new path."""
    names = _names(path)
    moved = next((name for name in names if not os.path.exists(name)), names[-1])
    for part in _PARTS:
        if os.path.exists(path + part):
            os.replace(path + part, moved + part)
    sync_folder(os.path.dirname(path))
    return moved


def _names(path: str) -> List[str]:
    return ["{}.damaged-{}".format(path, number) for number in range(1, _MOST_DAMAGED + 1)]
