"""Files that another user wrote, and that this one is to believe: no link of theirs is followed."""

import os
import stat
from typing import BinaryIO

from edgesynth_agent.errors import RefusedError

__all__ = ["is_plain", "own", "taken"]


def is_plain(path: str) -> bool:
    """Whether a file is a regular one under this name alone, or not there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def taken(path: str) -> bytes:
    """The bytes of a file that another user made."""
    with _opened(path) as file:
        return file.read()


def own(path: str) -> None:
    """A file that another user wrote becomes this one's, and is on the disk."""
    with _opened(path) as file:
        os.fchown(file.fileno(), os.geteuid(), os.getegid())
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())


def _opened(path: str) -> BinaryIO:
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        file.close()
        raise RefusedError("it is no regular file of its own", path, "deploy again")
    return file
