"""Writing files so that a reader sees the old content or the new, never a half."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["atomic_writer", "to_disk", "write_atomically"]


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well, and vanishes when it raises.

    Content first, then the name, then the folder goes to the disk: a power cut leaves the old file or the new one.
    Raises OSError. Two writers at once do not disturb each other; the last one wins.
    """
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes it private
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    to_disk(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` by `atomic_writer`."""
    with atomic_writer(path) as file:
        file.write(content)


def to_disk(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
