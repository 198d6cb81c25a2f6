"""The models that a device holds, by the SHA-256 of their bytes."""

import hashlib
import os
import tempfile
from typing import Any, BinaryIO

from edgesynth_agent.errors import NotFoundError, RefusedError, RequestError, StorageError, TooLargeError
from edgesynth_agent.onnx_file import read_summary

__all__ = ["MAX_MODEL_BYTES", "ModelStore"]

MAX_MODEL_BYTES = 512 * 1024 * 1024

_PARTIAL = ".partial"
_CHUNK_BYTES = 1024 * 1024


class ModelStore:
    """A folder of `<sha256>.onnx`. A file under that name is whole, is what its name says, and is a readable ONNX.

    Safe for several threads. Only one process may use the folder: what an earlier one left unfinished is removed.
    Raises StorageError when the folder cannot be written.
    """

    def __init__(self, root: str, max_bytes: int = MAX_MODEL_BYTES) -> None:
        self.max_bytes = max_bytes
        self._root = os.path.abspath(root)
        try:
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            for name in os.listdir(self._root):
                if name.endswith(_PARTIAL):
                    os.unlink(os.path.join(self._root, name))
        except OSError as error:
            raise _storage_error(self._root, error) from error

    def __contains__(self, digest: str) -> bool:
        return os.path.exists(self._path(digest))

    def path(self, digest: str) -> str:
        """Where the model lies. Raises NotFoundError."""
        if digest not in self:
            raise NotFoundError("the device does not have it", "model " + digest, "upload it first")
        return self._path(digest)

    def put(self, digest: str, body: Any, length: int) -> None:
        """Store `length` bytes of `body`, which has `read(size)`, under their digest; all of it or nothing.

        Raises TooLargeError, RequestError for a body that ends early, RefusedError for another digest or for what is
        no self-contained ONNX, StorageError when the disk does not take it.
        """
        if length > self.max_bytes:
            raise TooLargeError(
                "it has {} bytes, and {} is the most that is taken".format(length, self.max_bytes),
                "model " + digest,
                "shrink the model",
            )
        try:
            handle, partial = tempfile.mkstemp(dir=self._root, prefix=digest[:16], suffix=_PARTIAL)
        except OSError as error:
            raise _storage_error(self._root, error) from error
        try:
            with os.fdopen(handle, "wb") as file:
                found = _copy(body, file, length, self._root)
                if found != digest:
                    raise RefusedError("its SHA-256 is " + found, "model " + digest, "upload it again")
                read_summary(partial)
            os.rename(partial, self._path(digest))
            self._sync_folder()
        except BaseException:
            if os.path.exists(partial):
                os.unlink(partial)
            raise

    def _path(self, digest: str) -> str:
        return os.path.join(self._root, digest + ".onnx")

    def _sync_folder(self) -> None:
        folder = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _copy(body: Any, file: BinaryIO, length: int, root: str) -> str:
    """Copy and flush to the disk; the SHA-256 of what was copied. Errors of `body` pass through, those of the disk
    become StorageError."""
    digest = hashlib.sha256()
    left = length
    while left:
        chunk = body.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise RequestError("it ends {} bytes early".format(left), "the body", "upload it again")
        left -= len(chunk)
        digest.update(chunk)
        try:
            file.write(chunk)
        except OSError as error:
            raise _storage_error(root, error) from error
    try:
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise _storage_error(root, error) from error
    return digest.hexdigest()


def _storage_error(root: str, error: OSError) -> StorageError:
    return StorageError(error.strerror or str(error), "the model store " + root, "free space or give another --store")
