"""The files that a device was sent, by the SHA-256 of their bytes: models, and what belongs to them."""

import os
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from edgesynth_agent.errors import BusyError, NotFoundError, RefusedError, RequestError, StorageError, TooLargeError
from edgesynth_agent.files import sha256_of, sync_folder
from edgesynth_agent.onnx_file import read_summary
from edgesynth_agent.request import JobRequest
from edgesynth_agent.room import PARTIAL, Room, storage_error
from edgesynth_agent.sidecar import check_form

__all__ = ["FILE", "MODEL", "Kind", "UploadStore", "Uploads"]


_CHUNK_BYTES = 1024 * 1024


class Kind(NamedTuple):
    """What is uploaded: how it is called, how its files end, and what makes sure that a whole file is one."""

    word: str
    suffix: str
    check: Callable[[str], Any]
    """Is given a path. Raises RefusedError."""


MODEL = Kind("model", ".onnx", read_summary)
FILE = Kind("file", ".file", check_form)


class UploadStore:
    """The files of one kind in `room`. One under its digest is whole, is what its name says, and passed its check.

    The beginning of an upload that can go on lies beside. Safe for several threads. Raises StorageError when the
    folder cannot be written.
    """

    def __init__(self, room: Room, kind: Kind, max_bytes: int) -> None:
        self.kind = kind
        self.max_bytes = max_bytes
        self._room = room

    def __contains__(self, digest: str) -> bool:
        return os.path.exists(self._path(digest))

    def path(self, digest: str) -> str:
        """Where it lies. Raises NotFoundError."""
        if digest not in self:
            raise self._missing(digest)
        return self._path(digest)

    def bytes_of(self, digest: str) -> Optional[int]:
        """How large it is; None when it is not here."""
        try:
            return os.path.getsize(self._path(digest))
        except OSError:
            return None

    def offset(self, digest: str) -> int:
        """How many bytes are here of an upload that has not come to its end."""
        try:
            return os.path.getsize(self._path(digest) + PARTIAL)
        except OSError:
            return 0

    def pin(self, digest: str) -> None:
        """Use it: it stays until it is unpinned as often. Raises NotFoundError."""
        if not self._room.pin(self._name(digest)):
            raise self._missing(digest)

    def unpin(self, digest: str) -> None:
        """The end of one `pin`."""
        self._room.unpin(self._name(digest))

    def total_bytes(self) -> int:
        """What the files and the beginnings take."""
        return self._room.total_bytes(self.kind.suffix)

    def put(self, digest: str, body: Any, length: int) -> None:
        """Store `length` bytes of `body`, which has `read(size)`, under their digest; all of it or nothing.

        Raises TooLargeError, BusyError (the same is being uploaded), RequestError for a body that ends early,
        RefusedError for another digest or for what does not pass the check, StorageError when there is no room.
        """
        self.put_part(digest, body, 0, length, length, keep=False)

    def put_part(self, digest: str, body: Any, first: int, length: int, total: int, keep: bool = True) -> bool:
        """Go on with an upload of `total` bytes at byte `first`, by `length` bytes; whether all of it is here now.

        What came of a body that ends early is there for the next part, if `keep`. `first` 0 begins anew; any other
        must be `offset(digest)`. Raises as `put`, and BusyError when `first` is another.
        """
        where = self._where(digest)
        if total > self.max_bytes:
            what = "it has {} bytes, and {} is the most that is taken".format(total, self.max_bytes)
            raise TooLargeError(what, where, "make it smaller")
        with self._room.exclusively(self._name(digest), where):
            if first and first != self.offset(digest):
                what = "{} bytes of it are here, not {}".format(self.offset(digest), first)
                raise BusyError(what, where, "go on from there, or begin anew with byte 0")
            partial = self._path(digest) + PARTIAL
            with self._room.told():
                self._room.reserve(self._name(digest), total)
                handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if first else os.O_TRUNC), 0o600)
            try:
                _copy(body, handle, length, self._room)
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
            with self._room.told():
                found = sha256_of(partial)
            if found != digest:
                raise RefusedError("its SHA-256 is " + found, self._where(digest), "upload it again")
            self.kind.check(partial)
        except BaseException:
            os.unlink(partial)
            raise
        with self._room.told():
            os.rename(partial, self._path(digest))
            sync_folder(self._room.root)

    def _missing(self, digest: str) -> NotFoundError:
        return NotFoundError("the device does not have it", self._where(digest), "upload it first")

    def _where(self, digest: str) -> str:
        return "{} {}".format(self.kind.word, digest)

    def _name(self, digest: str) -> str:
        return digest + self.kind.suffix

    def _path(self, digest: str) -> str:
        return self._room.path(self._name(digest))


class Uploads(NamedTuple):
    """All that was sent, of both kinds."""

    models: UploadStore
    files: UploadStore

    def pin(self, request: JobRequest) -> None:
        """Use what a job names: all of it, or nothing. Raises NotFoundError."""
        pinned = []
        try:
            for store, digest in self._named(request):
                store.pin(digest)
                pinned.append((store, digest))
        except NotFoundError:
            for store, digest in pinned:
                store.unpin(digest)
            raise

    def unpin(self, request: JobRequest) -> None:
        """The end of one `pin`."""
        for store, digest in self._named(request):
            store.unpin(digest)

    def _named(self, request: JobRequest) -> List[Tuple[UploadStore, str]]:
        return [(self.models, request.model)] + [(self.files, digest) for digest in request.files().values()]


def _copy(body: Any, handle: int, length: int, room: Room) -> None:
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
            raise storage_error(room.root, error) from error
    with room.told():
        os.fsync(handle)
