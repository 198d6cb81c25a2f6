"""The raw samples behind what was measured: kept for good, by the SHA-256 of their bytes, so that every figure can be
computed again."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from edgesynth_exporters.files import write_atomically

from edgesynth.devices.measured import default_database
from edgesynth.errors import ConnectionLostError, DeviceError, StorageError
from edgesynth.records import Measurement, Trace

__all__ = ["FOLDER", "Traces", "default_traces", "with_trace"]

FOLDER = "traces"
SUFFIX = ".jsonl.gz"
ATTEMPTS = 2
"""What is measured once is not measured again, so a trace that did not come is lost for good."""


class Traces:
    """A folder of traces as agents gave them; it is made when the first one comes. Several processes may use one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, chunks: Iterable[bytes]) -> Trace:
        """Keep the bytes of one trace. Raises StorageError, and what getting the bytes raises."""
        content = b"".join(chunks)
        digest = hashlib.sha256(content).hexdigest()
        path = self._folder / f"{digest}{SUFFIX}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_atomically(path, content)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; free some space") from error
        return Trace(file=path.name, sha256=digest, bytes=len(content))

    def content(self, trace: Trace) -> bytes:
        """The bytes of a trace that was kept here. Raises StorageError where it is gone, or is another one."""
        path = self._folder / f"{trace.sha256}{SUFFIX}"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}; bring it back") from error
        if hashlib.sha256(content).hexdigest() != trace.sha256:
            raise StorageError(f"{path} is not the file that was written; bring that back")
        return content


def default_traces() -> Traces:
    """Those of all runs of this user, beside the database of their figures."""
    return Traces(default_database().parent / FOLDER)


def with_trace(measurement: Measurement, traces: Traces, fetch: Callable[[], Iterable[bytes]]) -> Measurement:
    """The measurement with its trace; where that cannot be had, with the reason: figures are worth keeping alone."""
    for attempt in range(ATTEMPTS):
        try:
            return measurement.model_copy(update={"trace": traces.keep(fetch())})
        except (DeviceError, StorageError) as error:
            if attempt + 1 == ATTEMPTS or not isinstance(error, ConnectionLostError):
                reason = f"no trace was kept: {error}"
                break
    return measurement.model_copy(update={"warnings": [*measurement.warnings, reason]})
