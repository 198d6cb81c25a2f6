"""What deploys from this machine did, one JSON object a line: $XDG_STATE_HOME/edgesynth/deploys.jsonl."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["DeployJournal", "journal_path"]

MOST_BYTES = 4 * 1024 * 1024


def journal_path() -> Path:
    """A relative $XDG_STATE_HOME is ignored, as the XDG base directory specification demands."""
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "edgesynth" / "deploys.jsonl"


class DeployJournal:
    """Appends, each line to the disk at once. A journal that cannot be written does not stop a deploy: what must not be
    forgotten is on the device."""

    def __init__(self, path: Path, **about: Any) -> None:
        self._path = path
        self._about = {**about, "process": os.getpid()}

    def write(self, **what: Any) -> None:
        line = json.dumps({"unix_s": round(time.time(), 3), **self._about, **what}) + "\n"
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size > MOST_BYTES:
                self._path.replace(self._path.with_suffix(".jsonl.1"))
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, line.encode())
                os.fsync(handle)
            finally:
                os.close(handle)
