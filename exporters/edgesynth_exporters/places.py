"""The places of an export's files: whose they are, and how all of them get there or none."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgesynth_exporters.errors import EdgesynthError, ExportError
from edgesynth_exporters.export_record import ExportRecord
from edgesynth_exporters.files import to_disk
from edgesynth_exporters.subject import Paths

__all__ = ["locked", "move_together", "older_files", "refuse_foreign"]

PATIENCE_S, LOOK_S = 30.0, 0.05
"""How long another export may take to move its files, and how often one looks."""
_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP)


def refuse_foreign(paths: Paths, places: Sequence[Path]) -> None:
    """Raise EdgesynthError for the first of `places` that holds something which no earlier export of that name left."""
    own = older_files(paths)
    for place in places:
        if os.path.lexists(place) and place not in own:
            raise EdgesynthError(
                f"--out {paths.out}: {place} is there and {paths.manifest.name} does not say that an export made it; "
                "give another --out, or move it away"
            )


def older_files(paths: Paths) -> set[Path]:
    """Files that an earlier export of that name left, by its manifest, which is one of them; folders are none."""
    try:
        # Looked at first: reading a pipe would wait for a writer.
        if not paths.manifest.is_file():
            return set()
        older = ExportRecord.model_validate_json(paths.manifest.read_bytes())
    except (OSError, ValueError):
        return set()
    listed = {entry.path for entry in older.files.values()} | {paths.manifest.name}
    return {path for path in paths.every if path.name in listed and (path.is_symlink() or not path.is_dir())}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone among exports that move files in `folder`; nothing is left behind. Where the file system has no locks on
    folders, as some network ones, it is done without.

    Raises ExportError where another one does not come to its end, OSError where the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise ExportError(f"{folder} is locked by another program; export again when it has ended") from None
            time.sleep(LOOK_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return None


def move_together(moves: Mapping[Path, Path], obsolete: Sequence[Path], aside: Path) -> None:
    """Move files (made to place), in their order, the last of them after `obsolete` ones were taken away: all of it,
    or none where anything fails. `aside` is a folder on the same disk, in which what was there before ends up.

    Raises OSError.
    """
    for made in moves:
        made.chmod(0o644)
        to_disk(made)
    *first, last = moves.items()
    kept: list[Path] = []
    placed: list[Path] = []
    try:
        for made, place in first:
            _replace(made, place, aside, kept, placed)
        for place in obsolete:
            _set_aside(place, aside, kept)
        _replace(*last, aside, kept, placed)
        to_disk(last[1].parent)
    except BaseException:
        for place in placed:
            place.unlink(missing_ok=True)
        for place in kept:
            if os.path.lexists(aside / place.name):
                (aside / place.name).rename(place)
        raise


def _replace(made: Path, place: Path, aside: Path, kept: list[Path], placed: list[Path]) -> None:
    _set_aside(place, aside, kept)
    placed.append(place)
    made.rename(place)


def _set_aside(place: Path, aside: Path, kept: list[Path]) -> None:
    if os.path.lexists(place):
        kept.append(place)
        place.rename(aside / place.name)
