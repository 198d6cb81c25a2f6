"""A TOML file of the user's, read with every way that it can be wrong as one line."""

import stat
import tomllib
from pathlib import Path
from typing import Any

from edgesynth_exporters.errors import EdgesynthError

__all__ = ["LARGEST_FILE", "read_toml"]

LARGEST_FILE = 1 << 20


def read_toml(path: Path, of: str) -> dict[str, Any]:
    """The document in `path`, a file of `of` ("targets"). Raises EdgesynthError that names the file."""
    content = _content(path, of)
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # what tomllib raises, beyond its own TOMLDecodeError
        raise EdgesynthError(f"{path}: not TOML: {error}") from error


def _content(path: Path, of: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise EdgesynthError(f"{path}: that is {what}; name a file of {of}")
        if status.st_size > LARGEST_FILE:
            raise EdgesynthError(f"{path}: over {LARGEST_FILE >> 20} MiB is no file of {of}")
        return path.read_bytes()
    except FileNotFoundError:
        raise EdgesynthError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise EdgesynthError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
