"""The folder of everything that was uploaded, and the bound of all of it together."""

import collections
import os
import re
import threading
from contextlib import contextmanager
from typing import Counter, Dict, Iterator, List, Tuple

from edgesynth_agent.errors import BusyError, StorageError

__all__ = ["MAX_STORE_BYTES", "PARTIAL", "Room", "storage_error"]

MAX_STORE_BYTES = 4 * 1024**3
PARTIAL = ".partial"

_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]+")
# What uploads leave free: the record of a job must always find room.
_SPARE_BYTES = 64 * 1024 * 1024


class Room:
    """A folder of files named by `<sha256>.<kind>`, each whole; with `.partial` behind it, the beginning of one.

    Where the files would be more than `max_bytes` together, those go that were not used for longest, whatever their
    kind, but none that is pinned. Safe for several threads; only one process may use the folder. Raises StorageError
    when the folder cannot be written.
    """

    def __init__(self, root: str, max_bytes: int = MAX_STORE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.root = os.path.abspath(root)
        self._lock = threading.Lock()
        self._pins: Counter[str] = collections.Counter()
        self._uploading: Dict[str, int] = {}  # what is announced of each, in bytes
        with self.told():
            os.makedirs(self.root, mode=0o700, exist_ok=True)
            for name in os.listdir(self.root):
                if name.endswith(PARTIAL) and not _NAME.fullmatch(name[: -len(PARTIAL)]):
                    os.unlink(os.path.join(self.root, name))

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def pin(self, name: str) -> bool:
        """Use a file: it stays until it is unpinned as often. Whether it is here at all."""
        with self._lock:
            try:
                os.utime(self.path(name))
            except FileNotFoundError:
                return False
            self._pins[name] += 1
            return True

    def unpin(self, name: str) -> None:
        """The end of one `pin`."""
        with self._lock:
            self._pins[name] -= 1

    @contextmanager
    def exclusively(self, name: str, where: str) -> Iterator[None]:
        """Upload a file. Raises BusyError while another thread does."""
        with self._lock:
            if name in self._uploading:
                raise BusyError("another upload of it is under way", where, "wait for its end")
            self._uploading[name] = 0
        try:
            yield
        finally:
            with self._lock:
                del self._uploading[name]

    def reserve(self, name: str, size: int) -> None:
        """Remove what was not used for longest until the `size` bytes of an upload fit, beside all that is announced of
        others: for the thread that uploads it `exclusively`, to the end of that. Raises StorageError.
        """
        with self._lock:
            announced = dict(self._uploading, **{name: size})
            files = self.files()
            begun = {each: here for _, here, each in files}
            coming = sum(max(0, most - begun.get(each + PARTIAL, 0)) for each, most in announced.items())
            total = sum(begun.values()) + coming
            for _, here, each in files:
                if total <= self.max_bytes:
                    break
                whole = each[: -len(PARTIAL)] if each.endswith(PARTIAL) else each
                if not self._pins[whole] and whole not in self._uploading:
                    os.unlink(self.path(each))
                    total -= here
            if total > self.max_bytes:
                what = "{} bytes do not fit beside what is in use and on its way".format(size)
                raise self._error(what, "wait for jobs and uploads, or give the agent a greater --store-mib")
            disk = os.statvfs(self.root)
            if disk.f_bavail * disk.f_frsize < coming + _SPARE_BYTES:
                raise self._error("there is no room for {} bytes on the disk".format(size), "free some space")
            self._uploading[name] = size

    def total_bytes(self, suffix: str) -> int:
        """What the files of one kind take, with their beginnings."""
        return sum(size for _, size, name in self.files() if name.split(".", 1)[1].startswith(suffix[1:]))

    def files(self) -> List[Tuple[int, int, str]]:
        """(time of last use in ns, bytes, name) of all files, the oldest first."""
        found = []
        with os.scandir(self.root) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name[: -len(PARTIAL)] if entry.name.endswith(PARTIAL) else entry.name):
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_size, entry.name))
        return sorted(found)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of the disk as StorageError."""
        try:
            yield
        except OSError as error:
            raise storage_error(self.root, error) from error

    def _error(self, what: str, next_step: str) -> StorageError:
        return StorageError(what, "the store " + self.root, next_step)


def storage_error(root: str, error: OSError) -> StorageError:
    return StorageError(error.strerror or str(error), "the store " + root, "free space or give another --store")
