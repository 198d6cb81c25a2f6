"""Changes of files that a power cut leaves done or not done: content first, then the name, then the folder.

Errors of the disk come out as StorageError.
"""

import errno
import json
import os
import shutil
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from edgesynth_agent.errors import StorageError
from edgesynth_agent.files import open_file

__all__ = [
    "disk_error",
    "make_folder",
    "point",
    "read_json",
    "remove",
    "remove_tree",
    "rename",
    "sync",
    "told",
    "write",
    "write_json",
]

_MOST_BYTES = 4 * 1024 * 1024
NEW = ".new"
_REMEDIES = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space of that user on that disk",
    errno.EROFS: "make that disk writable: sudo mount -o remount,rw on its mount point",
}


@contextmanager
def told(where: str) -> Iterator[None]:
    """OSError as StorageError that names `where`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, where) from error


def disk_error(error: OSError, where: str) -> StorageError:
    what, place = error.strerror or str(error), str(error.filename or where)
    return StorageError(
        what, place, _REMEDIES.get(error.errno or 0, "look at that place on the device, and deploy again")
    )


def sync(path: str) -> None:
    """The content of a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: str, mode: int = 0o755) -> None:
    """With the folders above it; each name of them is durable."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_folder(above)
    with told(path):
        os.mkdir(path, mode)
        sync(above)


def write(path: str, data: bytes, mode: int = 0o644) -> None:
    """A file, in place of an earlier one."""
    with told(path):
        handle = os.open(path + NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(path + NEW, mode)
        os.replace(path + NEW, path)
        sync(os.path.dirname(path))


def write_json(path: str, document: Any, mode: int = 0o644) -> None:
    write(path, json.dumps(document, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n", mode)


def read_json(path: str) -> Optional[Any]:
    """The document in a file; None when there is no such file or it holds none."""
    try:
        with open_file(path) as file:
            return json.loads(file.read(_MOST_BYTES).decode())
    except (OSError, ValueError, RecursionError):
        return None


def point(link: str, to: str) -> None:
    """A symbolic link, in place of an earlier one: a reader finds the old one or the new one."""
    with told(link):
        if os.path.lexists(link + NEW):
            os.unlink(link + NEW)
        os.symlink(to, link + NEW)
        os.replace(link + NEW, link)
        sync(os.path.dirname(link))


def rename(source: str, to: str) -> None:
    """Within one folder; `to` may be there if it is a file or a link."""
    with told(to):
        os.replace(source, to)
        sync(os.path.dirname(to))


def remove(path: str) -> None:
    """A file or a link; nothing happens where there is none."""
    with told(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        sync(os.path.dirname(path))


def remove_tree(path: str) -> None:
    """A folder and all in it, never what its links lead to; nothing happens where there is none."""
    with told(path):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            return
        sync(os.path.dirname(path))
