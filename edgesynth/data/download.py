"""Downloads that either arrive whole and verified, or leave nothing behind."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from edgesynth_exporters.files import atomic_writer

from edgesynth.data.source import Progress
from edgesynth.errors import DataError, StorageError

__all__ = ["Remote", "download", "file_at"]

TIMEOUT_S = 30.0
"""Longest silence of the server, not the length of the download."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Remote:
    """A file at an address, with the SHA-256 and the size in bytes that it must have."""

    url: str
    sha256: str
    size: int


def download(remote: Remote, target: Path, progress: Progress | None = None, timeout_s: float = TIMEOUT_S) -> None:
    """Fetch a file to `target`, creating its folder.

    What arrives goes to a temporary file beside `target`, which takes its name only after size and digest
    were checked and the bytes are on the disk. Safe to run twice at once: the last one wins, with the same
    bytes.

    Raises DataError if the address is out of reach or answers with something else, StorageError if the disk
    refuses.
    """
    with file_at(target) as file:
        state, size = hashlib.sha256(), 0
        for chunk in _chunks(remote.url, timeout_s):
            state.update(chunk)
            size += len(chunk)
            if size > remote.size:
                raise DataError(f"{remote.url} is longer than the {remote.size} bytes it should have")
            file.write(chunk)
            if progress is not None:
                progress(target.name, size, remote.size)
        if size < remote.size:
            raise DataError(f"{remote.url} ended after {size} of {remote.size} bytes; try again")
        if state.hexdigest() != remote.sha256:
            raise DataError(
                f"{remote.url} has SHA-256 {state.hexdigest()}, but {remote.sha256} is expected: "
                "what arrived is not the published file"
            )


@contextmanager
def file_at(target: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `target`, whole or not at all; makes its folder.

    Raises StorageError where the disk refuses. An OSError raised inside the block is taken for one of the disk.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(target) as file:
            yield file
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error


class _Readable(Protocol):
    def read(self, amount: int, /) -> bytes: ...


def _chunks(url: str, timeout_s: float) -> Iterator[bytes]:
    """The body of an answer, piece by piece. Network trouble is DataError, not taken for the disk's."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            body: _Readable = answer
            while chunk := body.read(_CHUNK):
                yield chunk
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url} answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DataError(f"{url} is out of reach ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url} broke off ({error or type(error).__name__})") from error
