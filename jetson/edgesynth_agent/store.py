"""The models that a device holds, by the SHA-256 of their bytes."""

import collections
import os
import re
import threading
from contextlib import contextmanager
from typing import Any, Counter, Iterator, List, Optional, Set, Tuple

from edgesynth_agent.errors import BusyError, NotFoundError, RefusedError, RequestError, StorageError, TooLargeError
from edgesynth_agent.files import sha256_of
from edgesynth_agent.onnx_file import read_summary

__all__ = ["MAX_MODEL_BYTES", "MAX_STORE_BYTES", "ModelStore"]

MAX_MODEL_BYTES = 2 * 1024**3
MAX_STORE_BYTES = 4 * 1024**3

_MODEL, _PARTIAL = ".onnx", ".partial"
_CHUNK_BYTES = 1024 * 1024
# What uploads leave free: the record of a job must always find room.
_SPARE_BYTES = 64 * 1024 * 1024


class ModelStore:
    """A folder of `<sha256>.onnx`. A file under that name is whole, is what its name says, and is a readable ONNX.

    `<sha256>.partial` is the beginning of an upload that can go on. Where the files would be more than `max_store`
    bytes together, those go that were not used for longest, but none that is pinned. Safe for several threads; only
    one process may use the folder. Raises StorageError when the folder cannot be written.
    """

    def __init__(self, root: str, max_bytes: int = MAX_MODEL_BYTES, max_store: int = MAX_STORE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.max_store = max_store
        self._root = os.path.abspath(root)
        self._lock = threading.Lock()
        self._pins: Counter[str] = collections.Counter()
        self._uploading: Set[str] = set()
        with self._told():
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            for name in os.listdir(self._root):
                if name.endswith(_PARTIAL) and not re.fullmatch("[0-9a-f]{64}" + re.escape(_PARTIAL), name):
                    os.unlink(os.path.join(self._root, name))

    def __contains__(self, digest: str) -> bool:
        return os.path.exists(self._path(digest))

    def path(self, digest: str) -> str:
        """Where the model lies. Raises NotFoundError."""
        if digest not in self:
            raise NotFoundError("the device does not have it", "model " + digest, "upload it first")
        return self._path(digest)

    def bytes_of(self, digest: str) -> Optional[int]:
        """How large a model is; None when it is not here."""
        try:
            return os.path.getsize(self._path(digest))
        except OSError:
            return None

    def offset(self, digest: str) -> int:
        """How many bytes of a model are here of an upload that has not come to its end."""
        try:
            return os.path.getsize(self._path(digest, _PARTIAL))
        except OSError:
            return 0

    def pin(self, digest: str) -> None:
        """Use a model: it stays until it is unpinned as often. Raises NotFoundError."""
        with self._lock:
            os.utime(self.path(digest))
            self._pins[digest] += 1

    def unpin(self, digest: str) -> None:
        """The end of one `pin`."""
        with self._lock:
            self._pins[digest] -= 1

    def total_bytes(self) -> int:
        """What the models and the beginnings take."""
        return sum(size for _, size, _ in self._files())

    def put(self, digest: str, body: Any, length: int) -> None:
        """Store `length` bytes of `body`, which has `read(size)`, under their digest; all of it or nothing.

        Raises TooLargeError, BusyError (the same is being uploaded), RequestError for a body that ends early,
        RefusedError for another digest or for what is no self-contained ONNX, StorageError when there is no room.
        """
        self.put_part(digest, body, 0, length, length, keep=False)

    def put_part(self, digest: str, body: Any, first: int, length: int, total: int, keep: bool = True) -> bool:
        """Go on with an upload of `total` bytes at byte `first`, by `length` bytes; whether the model is here now.

        What came of a body that ends early is there for the next part, if `keep`. `first` 0 begins anew; any other
        must be `offset(digest)`. Raises as `put`, and BusyError when `first` is another.
        """
        where = "model " + digest
        if total > self.max_bytes:
            what = "it has {} bytes, and {} is the most that is taken".format(total, self.max_bytes)
            raise TooLargeError(what, where, "shrink the model")
        with self._exclusively(digest):
            if first and first != self.offset(digest):
                what = "{} bytes of it are here, not {}".format(self.offset(digest), first)
                raise BusyError(what, where, "go on from there, or begin anew with byte 0")
            partial = self._path(digest, _PARTIAL)
            with self._told():
                self._make_room(total - first)
                handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if first else os.O_TRUNC), 0o600)
            try:
                _copy(body, handle, length, self._root)
            except BaseException as error:
                if not keep or isinstance(error, StorageError):
                    os.unlink(partial)
                raise
            finally:
                os.close(handle)
            if first + length < total:
                return False
            self._finish(digest, partial)
            return True

    def _finish(self, digest: str, partial: str) -> None:
        try:
            with self._told():
                found = sha256_of(partial)
            if found != digest:
                raise RefusedError("its SHA-256 is " + found, "model " + digest, "upload it again")
            read_summary(partial)
        except BaseException:
            os.unlink(partial)
            raise
        with self._told():
            os.rename(partial, self._path(digest))
            folder = os.open(self._root, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextmanager
    def _exclusively(self, digest: str) -> Iterator[None]:
        with self._lock:
            if digest in self._uploading:
                raise BusyError("another upload of it is under way", "model " + digest, "wait for its end")
            self._uploading.add(digest)
        try:
            yield
        finally:
            with self._lock:
                self._uploading.discard(digest)

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest until `size` more bytes fit. Raises StorageError."""
        with self._lock:
            files = self._files()
            total = sum(each for _, each, _ in files)
            for _, each, name in files:
                if total + size <= self.max_store:
                    break
                digest = name.split(".")[0]
                if not self._pins[digest] and digest not in self._uploading:
                    os.unlink(os.path.join(self._root, name))
                    total -= each
        if total + size > self.max_store:
            what = "{} bytes more do not fit beside what is in use".format(size)
            raise self._error(what, "wait for the job, or give the agent a greater --store-mib")
        disk = os.statvfs(self._root)
        if disk.f_bavail * disk.f_frsize < size + _SPARE_BYTES:
            raise self._error("there is no room for {} bytes more on the disk".format(size), "free some space")

    def _files(self) -> List[Tuple[int, int, str]]:
        """(time of last use in ns, bytes, name) of all files, the oldest first."""
        found = []
        with os.scandir(self._root) as entries:
            for entry in entries:
                if entry.name.endswith((_MODEL, _PARTIAL)):
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_size, entry.name))
        return sorted(found)

    def _path(self, digest: str, suffix: str = _MODEL) -> str:
        return os.path.join(self._root, digest + suffix)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _storage_error(self._root, error) from error

    def _error(self, what: str, next_step: str) -> StorageError:
        return StorageError(what, "the model store " + self._root, next_step)


def _copy(body: Any, handle: int, length: int, root: str) -> None:
    """Append and flush to the disk. Errors of `body` pass through, those of the disk become StorageError."""
    os.lseek(handle, 0, os.SEEK_END)
    left = length
    while left:
        chunk = body.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise RequestError("it ends {} bytes early".format(left), "the body", "upload the rest, or all of it again")
        left -= len(chunk)
        try:
            view = memoryview(chunk)
            while view:
                view = view[os.write(handle, view) :]
        except OSError as error:
            raise _storage_error(root, error) from error
    try:
        os.fsync(handle)
    except OSError as error:
        raise _storage_error(root, error) from error


def _storage_error(root: str, error: OSError) -> StorageError:
    return StorageError(error.strerror or str(error), "the model store " + root, "free space or give another --store")
