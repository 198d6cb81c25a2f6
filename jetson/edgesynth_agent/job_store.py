"""Jobs on the disk: what was asked, how far it came, how it ended. Survives the agent, kill -9, and a power cut."""

import json
import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional

from edgesynth_agent.errors import NotFoundError, StorageError
from edgesynth_agent.job_file import damaged_files, open_database

__all__ = ["TERMINAL", "JobStore"]

TERMINAL = ("done", "failed", "cancelled")

_VERSION = 1
_TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT UNIQUE,
    holder TEXT NOT NULL,
    request TEXT NOT NULL,
    status TEXT NOT NULL,
    stage TEXT NOT NULL,
    progress REAL NOT NULL,
    submitted_unix_s REAL NOT NULL,
    ended_unix_s REAL,
    reason TEXT,
    result TEXT,
    error TEXT,
    trace_bytes INTEGER
);
CREATE INDEX jobs_by_status ON jobs (status);
CREATE TABLE events (
    job INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (job, sequence)
) WITHOUT ROWID;
"""
# More than one job has, so numbers after an interruption are above any that a client saw, even where a power cut
# took the last of them.
_SEQUENCE_GAP = 100000
_MOST_LISTED = 100

# Every column of the document that is not JSON text.
_PLAIN = ("id", "holder", "status", "stage", "progress", "reason", "submitted_unix_s", "ended_unix_s", "trace_bytes")
_JSON = ("request", "result", "error")


class JobStore:
    """One SQLite file in WAL mode, for one process. Safe for several threads.

    Whether a job was accepted and how it ended are on the disk when the call returns; progress is only written, so
    that no disk is waited for while something is measured. A job ends once: `end` refuses a second time. A file that is
    found damaged is moved to `moved`, else None, and an empty one is begun; `damaged` are all that lie there from
    now and earlier. Raises StorageError when it is of a newer agent, or the disk is full or fails.
    """

    def __init__(self, path: str, keep: int = 1000) -> None:
        self._path = path
        self._keep = keep
        self._lock = threading.RLock()
        with self._told():
            self._database, self.moved = open_database(path)
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
        self.damaged = damaged_files(path)
        if version > _VERSION:
            raise StorageError("a newer agent wrote it", path, "give another --store, or use that agent")
        if version == 0:
            with self._told(), self._change(durable=True):
                for statement in _TABLES.split(";"):
                    self._database.execute(statement)
                self._database.execute("PRAGMA user_version = {}".format(_VERSION))

    def recover(self) -> List[str]:
        """End what an agent was doing when it was killed: failed, for the reason `interrupted`. The ids of those."""
        with self._lock, self._told():
            rows = self._database.execute("SELECT id FROM jobs WHERE status IN ('queued', 'running')").fetchall()
            error = {
                "what": "the agent or the device stopped while it ran",
                "where": "the job",
                "next": "submit it again",
            }
            for row in rows:
                self.end(row["id"], "failed", "interrupted", error=error)
            return [row["id"] for row in rows]

    def add(self, job_id: str, key: Optional[str], holder: str, request: Dict[str, Any]) -> None:
        """A new job, queued. `key` is a name that its client gave it; no two jobs may have one."""
        insert = (
            "INSERT INTO jobs (id, key, holder, request, status, stage, progress, submitted_unix_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        values = (job_id, key, holder, json.dumps(request), "queued", "queued", 0.0, time.time())
        with self._told(), self._change(durable=True):
            number = self._database.execute(insert, values).lastrowid or 0
            self._event(number, 1, {"status": "queued", "stage": "queued", "progress": 0.0, "reason": None})

    def progress(self, job_id: str, stage: str, share: float) -> None:
        """The job runs, and is so far. Does nothing to one that has ended."""
        with self._told(), self._change(durable=False):
            number = self._number(job_id)
            changed = self._database.execute(
                "UPDATE jobs SET status = 'running', stage = ?, progress = ? WHERE number = ? AND ended_unix_s IS NULL",
                (stage, share, number),
            )
            if changed.rowcount:
                event = {"status": "running", "stage": stage, "progress": share, "reason": None}
                self._event(number, self._last(number) + 1, event)

    def end(
        self,
        job_id: str,
        status: str,
        reason: Optional[str],
        result: Optional[Dict[str, Any]] = None,
        error: Optional[Dict[str, str]] = None,
        trace_bytes: Optional[int] = None,
    ) -> None:
        """Done, failed or cancelled, for good. Raises ValueError for a job that has ended already."""
        texts = [None if document is None else json.dumps(document, allow_nan=False) for document in (result, error)]
        with self._told(), self._change(durable=True):
            number = self._number(job_id)
            changed = self._database.execute(
                "UPDATE jobs SET status = ?, stage = ?, progress = 1.0, ended_unix_s = ?, reason = ?, result = ?,"
                " error = ?, trace_bytes = ? WHERE number = ? AND ended_unix_s IS NULL",
                (status, status, time.time(), reason, *texts, trace_bytes, number),
            )
            if changed.rowcount != 1:
                raise ValueError("job {} has ended already".format(job_id))
            gap = _SEQUENCE_GAP if reason == "interrupted" else 1
            event = {"status": status, "stage": status, "progress": 1.0, "reason": reason}
            self._event(number, self._last(number) + gap, event)

    def drop_trace(self, job_id: str) -> None:
        """Remember that the trace of a job is no longer kept."""
        with self._told(), self._change(durable=False):
            self._database.execute("UPDATE jobs SET trace_bytes = NULL WHERE id = ?", (job_id,))

    def with_trace(self) -> List[str]:
        """The ids of the jobs whose trace is kept."""
        with self._lock, self._told():
            return [row[0] for row in self._database.execute("SELECT id FROM jobs WHERE trace_bytes IS NOT NULL")]

    def forget_old(self) -> List[str]:
        """Delete all but the last jobs that have ended; their ids."""
        ended = "SELECT number, id FROM jobs WHERE ended_unix_s IS NOT NULL ORDER BY number DESC LIMIT -1 OFFSET ?"
        with self._told(), self._change(durable=False):
            rows = self._database.execute(ended, (self._keep,)).fetchall()
            for row in rows:
                self._database.execute("DELETE FROM events WHERE job = ?", (row["number"],))
                self._database.execute("DELETE FROM jobs WHERE number = ?", (row["number"],))
        return [row["id"] for row in rows]

    def document(self, job_id: str) -> Dict[str, Any]:
        """The job as the API shows it. Raises NotFoundError."""
        return self._document(self._row("id", job_id))

    def with_key(self, key: str) -> Optional[Dict[str, Any]]:
        """The job that a client gave this name."""
        with self._lock, self._told():
            row = self._database.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._document(row)

    def latest(self) -> List[Dict[str, Any]]:
        """The last jobs, the newest first, without their results."""
        with self._lock, self._told():
            rows = self._database.execute("SELECT * FROM jobs ORDER BY number DESC LIMIT ?", (_MOST_LISTED,)).fetchall()
        return [dict(self._document(row), result=None) for row in rows]

    def counts(self) -> Dict[str, int]:
        """How many jobs there are in each status."""
        with self._lock, self._told():
            rows = self._database.execute("SELECT status, COUNT(*) FROM jobs GROUP BY status").fetchall()
        return dict(dict.fromkeys(("queued", "running") + TERMINAL, 0), **{row[0]: row[1] for row in rows})

    def events(self, job_id: str, after: int) -> List[Dict[str, Any]]:
        """What happened to a job, with sequence numbers above `after`: they ascend, with gaps. Raises NotFoundError."""
        with self._lock, self._told():
            rows = self._database.execute(
                "SELECT sequence, event FROM events WHERE job = ? AND sequence > ? ORDER BY sequence",
                (self._number(job_id), after),
            ).fetchall()
        return [dict(json.loads(row["event"]), sequence=row["sequence"]) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _event(self, number: int, sequence: int, event: Dict[str, Any]) -> None:
        self._database.execute("INSERT INTO events VALUES (?, ?, ?)", (number, sequence, json.dumps(event)))

    def _last(self, number: int) -> int:
        row = self._database.execute("SELECT MAX(sequence) FROM events WHERE job = ?", (number,)).fetchone()
        return int(row[0] or 0)

    def _number(self, job_id: str) -> int:
        return int(self._row("id", job_id)["number"])

    def _row(self, column: str, value: str) -> sqlite3.Row:
        with self._lock, self._told():
            row: Optional[sqlite3.Row] = self._database.execute(
                "SELECT * FROM jobs WHERE {} = ?".format(column), (value,)
            ).fetchone()
        if row is None:
            raise NotFoundError("there is none", "job " + value, "POST a job to /v1/jobs; old ones are forgotten")
        return row

    def _document(self, row: sqlite3.Row) -> Dict[str, Any]:
        document: Dict[str, Any] = {name: row[name] for name in _PLAIN}
        document.update({name: None if row[name] is None else json.loads(row[name]) for name in _JSON})
        return document

    @contextmanager
    def _change(self, durable: bool) -> Iterator[None]:
        """All of it or nothing; on the disk afterwards if `durable`."""
        with self._lock:
            self._database.execute("PRAGMA synchronous = {}".format("FULL" if durable else "NORMAL"))
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            where, next_step = "the job store " + self._path, "free some space; if it is damaged, restart the agent"
            raise StorageError(str(error), where, next_step) from error
