"""Where data sets lie on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["cache_folder", "download_folder", "find_folder"]

ROOT_VARIABLE = "EDGESYNTH_DATA"


def _root() -> Path | None:
    """$EDGESYNTH_DATA, if it is set and not empty."""
    value = os.environ.get(ROOT_VARIABLE)
    return Path(value).expanduser() if value else None


def cache_folder() -> Path:
    """The user's cache: $XDG_CACHE_HOME/edgesynth/data or ~/.cache/edgesynth/data.

    A relative $XDG_CACHE_HOME is ignored, as the XDG base directory specification demands.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ".cache"
    return base / "edgesynth" / "data"


def download_folder(name: str) -> Path:
    """Where a download of the data set `name` goes to: into $EDGESYNTH_DATA if set, else into the cache."""
    return (_root() or cache_folder()) / name


def find_folder(files: Sequence[str], names: Sequence[str], system: Sequence[Path] = ()) -> Path | None:
    """The first folder that has all the files, or None.

    Looks in $EDGESYNTH_DATA/<one of names>, $EDGESYNTH_DATA itself, the `system` folders, and the user's
    cache.
    """
    root, cache = _root(), cache_folder()
    mine = [] if root is None else [*(root / name for name in names), root]
    for folder in [*mine, *system, *(cache / name for name in names)]:
        if all(_is_file(folder / file) for file in files):
            return folder
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be entered
        return False
