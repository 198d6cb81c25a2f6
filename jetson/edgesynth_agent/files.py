"""Files that are whole or not there, and their digests."""

import errno
import hashlib
import os
import stat
import tempfile
from contextlib import contextmanager
from typing import BinaryIO, Iterator, List, Tuple, Union

from edgesynth_agent.errors import StorageError

__all__ = ["open_file", "sha256_of", "sync_folder", "write_together"]

Data = Union[bytes, memoryview]

_CHUNK_BYTES = 1024 * 1024


def open_file(path: str) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for a pipe or a device: reading one may never end."""
    # Without O_NONBLOCK the opening of a pipe waits for somebody who writes into it.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return os.fdopen(handle, "rb")


def sha256_of(path: str) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def sync_folder(path: str) -> None:
    """Have the names in a folder on the disk: a file that is flushed may still lose its name to a power cut. Raises
    OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_together(files: List[Tuple[str, Data]]) -> None:
    """Write files of one folder: all content goes to the disk first, then the names, in the order given.

    A failure before the first name leaves everything as it was. Raises StorageError.
    """
    folder = os.path.dirname(os.path.abspath(files[0][0]))
    try:
        with _partials(files, folder) as partials:
            for (path, _), partial in zip(files, partials):
                os.replace(partial, path)
        sync_folder(folder)
    except OSError as error:
        where = error.filename2 or files[-1][0]
        raise StorageError(
            error.strerror or str(error), where, "name a folder with space that may be written"
        ) from error


@contextmanager
def _partials(files: List[Tuple[str, Data]], folder: str) -> Iterator[List[str]]:
    """Temporary files with the contents, on the disk; those that were not renamed are gone afterwards."""
    partials: List[str] = []
    try:
        for path, data in files:
            handle, partial = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path) + ".", suffix=".partial")
            partials.append(partial)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(partial, 0o644)  # mkstemp makes it private
        yield partials
    finally:
        for partial in partials:
            if os.path.exists(partial):
                os.unlink(partial)
