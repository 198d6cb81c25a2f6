"""The agent's socket, for the user who deploys: with sudo, their own processes may not open it."""

import glob
import os
import shutil
import socket
import tempfile
import threading
from typing import Tuple

__all__ = ["SocketRelay", "sweep_relays"]

_PREFIX = "edgesynth-relay-"
_CHUNK_BYTES = 256 * 1024
_BACKLOG = 16


class SocketRelay:
    """A socket of `owner` (uid, gid) in a folder of theirs; who connects there is connected to `target`.

    It lives as long as this object: `close` takes it away. Nobody but the owner and root can reach it.
    """

    def __init__(self, target: str, owner: Tuple[int, int]) -> None:
        self._target = target
        self._folder = tempfile.mkdtemp(prefix=_PREFIX)
        self.path = os.path.join(self._folder, "agent.sock")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o600)
        os.chown(self.path, *owner)
        os.chown(self._folder, *owner)
        self._listener.listen(_BACKLOG)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        except OSError:
            pass
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        """One connection, until both sides have said all."""
        with near, socket.socket(socket.AF_UNIX) as far:
            try:
                far.connect(self._target)
            except OSError:
                return
            back = threading.Thread(target=_pump, args=(far, near), daemon=True)
            back.start()
            _pump(near, far)
            back.join()


def sweep_relays() -> None:
    """Take away what relays left that were killed. For who holds the lock of deploys: nobody else has a relay."""
    for folder in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), _PREFIX + "*")):
        shutil.rmtree(folder, ignore_errors=True)  # follows no link


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Bytes from one to the other until there are no more; then the other hears of it."""
    try:
        while True:
            data = source.recv(_CHUNK_BYTES)
            if not data:
                break
            sink.sendall(data)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
