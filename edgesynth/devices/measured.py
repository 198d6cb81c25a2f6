"""What devices have measured so far, in one database that all runs of a user share: nothing is measured twice."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from edgesynth.errors import StorageError
from edgesynth.records import Measurement, Record

__all__ = ["FILE", "MeasurementKey", "Measurements", "default_database", "key_facts"]

FILE = "measurements.sqlite"
APPLICATION = 0x6564736D  # "edsm"
VERSION = 1
NEW = (0, 0, 0)
"""Marks of an empty file (`_marks`)."""
_Record = TypeVar("_Record", bound=Record)

BUSY_S = 30.0  # writes of others are over in milliseconds

_SCHEMA = """
CREATE TABLE measurements (
    number INTEGER PRIMARY KEY,
    key    TEXT NOT NULL,
    facts  TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX measurements_by_key ON measurements (key, number);
"""


class MeasurementKey(Record):
    """All that a figure depends on. `graph` is what the network computes (`graph_digest`), `device` the one board,
    `power_mode` its mode of power and clocks, `runtime` the versions of the programs that may run the network there,
    `schedule` the tier or the windows that were asked for. What is not known of a device is None, and None alone is
    equal to it."""

    graph: str
    target: str
    device: str
    source: str
    engine: str
    precision: str
    batch: int
    power_mode: str | None
    agent: str
    runtime: str
    schedule: str

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, hexadecimal."""
        text = json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def key_facts(address: str, device: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a key that a device tells of itself in its facts (`GET /v1/device`). Boards that were all set up
    from one image tell the same of themselves, so where it is counts too."""
    mode = device.get("power_mode")
    runtimes = (device.get("runtimes") or {}).items()
    return {
        "device": " ".join([address, *(str(device.get(name) or "?") for name in ("hostname", "model", "machine"))]),
        "power_mode": None if mode is None else json.dumps(mode, sort_keys=True),
        "agent": str(device.get("agent")),
        "runtime": ", ".join(f"{name} {facts.get('version')}" for name, facts in sorted(runtimes)),
    }


class Measurements:
    """The database. Several processes and threads may use one file; every call is a transaction of its own.

    Raises StorageError when the file is damaged, foreign, of another version, or the disk refuses. Nothing is ever
    changed or removed: asked for again, a measurement is added, and the latest counts. With `anew` only those
    count that are added from now on.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {path.parent}: {error.strerror}; give another folder") from error
        with self._connection() as connection:
            if _marks(connection) == NEW:
                # Not before the file is known to be empty: it would be written into somebody else's.
                connection.execute("PRAGMA journal_mode=WAL")
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                self._check(connection)
            (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM measurements").fetchone()
        self._after: int = last if anew else 0

    def latest(self, key: MeasurementKey) -> Measurement | None:
        """What was measured last under just this key, or None."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT record FROM measurements WHERE key = ? AND number > ? ORDER BY number DESC LIMIT 1",
                (key.digest, self._after),
            ).fetchone()
        return None if row is None else self._parsed(Measurement, row[0])

    def add(self, key: MeasurementKey, measurement: Measurement) -> None:
        """Keep a measurement for good. Raises ValueError for an estimate: that is no measurement."""
        if measurement.source == "estimated":
            raise ValueError("an estimate is no measurement")
        if (measurement.source, measurement.target) != (key.source, key.target):
            raise ValueError(f"a {measurement.source} figure of {measurement.target} under a key of {key.target}")
        row = (key.digest, key.model_dump_json(), measurement.model_dump_json(by_alias=True))
        with self._connection() as connection, connection:
            connection.execute("INSERT INTO measurements (key, facts, record) VALUES (?, ?, ?)", row)

    def all(self, target: str) -> list[tuple[MeasurementKey, Measurement]]:
        """Everything that was measured as that target, in the order of measuring."""
        with self._connection() as connection:
            rows = connection.execute("SELECT facts, record FROM measurements ORDER BY number").fetchall()
        pairs = [(self._parsed(MeasurementKey, facts), self._parsed(Measurement, record)) for facts, record in rows]
        return [(key, record) for key, record in pairs if key.target == target]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_S)) as connection:
                # A measurement may have cost minutes of a board: synced at each commit, it survives a power cut.
                connection.execute("PRAGMA synchronous=FULL")
                yield connection
        except sqlite3.Error as error:
            raise StorageError(f"cannot use {self._path}: {error}; move it away, or free some space") from error

    def _check(self, connection: sqlite3.Connection) -> None:
        """Make an empty file ours; refuse one that is not."""
        application, version, _ = marks = _marks(connection)
        if marks == NEW:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION}")
            connection.execute(f"PRAGMA user_version={VERSION}")
        elif application != APPLICATION:
            raise StorageError(f"{self._path} is no database of edgesynth's measurements: move it away")
        elif version != VERSION:
            raise StorageError(
                f"{self._path} was made by another version of edgesynth (format {version}, this one writes {VERSION}): "
                "use that version, or move the file away"
            )

    def _parsed(self, model: type[_Record], text: str) -> _Record:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise StorageError(
                f"{self._path} holds what is no {model.__name__}{f', {where}' if where else ''}: {first['msg']}; it "
                "was damaged, or written by a newer edgesynth: use that, or move the file away and measure again"
            ) from error


def _marks(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Whose file it is, of which version, and how many tables and indices it has."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return application, version, tables


def default_database() -> Path:
    """$XDG_DATA_HOME/edgesynth or ~/.local/share/edgesynth; a relative $XDG_DATA_HOME is ignored, as the XDG base
    directory specification demands. No cache: what boards have measured cannot be had again by computing."""
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ".local" / "share"
    return base / "edgesynth" / FILE
