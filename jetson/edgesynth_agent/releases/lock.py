"""One deploy at a time: a lock that the kernel lets go of when its holder ends, and who that is."""

import fcntl
import json
import os
import time
from typing import Any, Dict, Optional

from edgesynth_agent.errors import BusyError
from edgesynth_agent.plan import plain
from edgesynth_agent.releases import disk
from edgesynth_agent.releases.layout import Layout

__all__ = ["DeployLock"]

_MOST_HOLDER = 200
_MOST_BYTES = 4096


class DeployLock:
    """Held from construction to `close` or the end of the process. Raises BusyError that says who holds it."""

    def __init__(self, layout: Layout, holder: str) -> None:
        disk.make_folder(layout.state)
        _take_over(layout.state)
        self._path = layout.lock
        self._holder = plain(holder, _MOST_HOLDER)
        while True:
            with disk.told(self._path):
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                error = _busy(self._handle)
                os.close(self._handle)
                raise error from None
            if self._still_there():
                break
            os.close(self._handle)  # an uninstall took the file away meanwhile
        os.ftruncate(self._handle, 0)
        os.write(self._handle, json.dumps({"holder": self._holder, "pid": os.getpid(), "unix_s": time.time()}).encode())

    @property
    def holder(self) -> str:
        return self._holder

    def beat(self) -> None:
        """The holder was heard of."""
        try:
            os.utime(self._handle)
        except OSError:
            pass

    def remove(self) -> None:
        """Take the file away, the last act of an uninstall."""
        disk.remove(self._path)

    def close(self) -> None:
        os.close(self._handle)

    def _still_there(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._handle))
        except OSError:
            return False


def _take_over(folder: str) -> None:
    """Agents of before had this folder for their own; now it holds what others trust."""
    with disk.told(folder):
        if os.lstat(folder).st_uid != os.geteuid():
            os.chown(folder, os.geteuid(), os.getegid(), follow_symlinks=False)
            os.chmod(folder, 0o755)


def _busy(handle: int) -> BusyError:
    silent_s = max(0.0, time.time() - os.fstat(handle).st_mtime)
    try:
        document: Optional[Dict[str, Any]] = json.loads(os.pread(handle, _MOST_BYTES, 0).decode())
        holder, since = str(document["holder"]), float(document["unix_s"])  # type: ignore[index]
        what = "{} has been deploying for {:.0f} s, last heard of {:.0f} s ago".format(
            plain(holder, _MOST_HOLDER), max(0.0, time.time() - since), silent_s
        )
    except (ValueError, KeyError, TypeError, OSError):
        what = "somebody is deploying"
    error = BusyError(what, "this device", "wait until they are done")
    error.silent_s = silent_s  # type: ignore[attr-defined]
    return error
