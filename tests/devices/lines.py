"""An agent behind a line that breaks."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["BreakingLine", "breaking_line"]


class BreakingLine:
    """A socket that passes everything on to the agent's, and breaks after so many bytes: `limits` has those that the
    client may still send, `answers` those that it may still hear, one entry for each connection; then none breaks."""

    def __init__(self, socket_path: Path, agent: Path) -> None:
        self.path = socket_path
        self.sent: list[int] = []
        self.limits: list[int] = []
        self.answers: list[int] = []
        self._agent = agent
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self._agent))
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        index = len(self.sent)
        self.sent.append(0)
        limit = self.limits.pop(0) if self.limits else -1
        answer = self.answers.pop(0) if self.answers else -1

        def count(size: int) -> None:
            self.sent[index] += size

        back = threading.Thread(target=_pump, args=(far, near, answer, lambda size: None), daemon=True)
        back.start()
        _pump(near, far, limit, count)
        back.join()
        near.close()
        far.close()


def _pump(source: socket.socket, sink: socket.socket, limit: int, count: Callable[[int], None]) -> None:
    """Pass on until the end, or until `limit` bytes went through: then both ends see the connection break."""
    with contextlib.suppress(OSError):
        while limit:
            data = source.recv(min(65536, limit) if limit > 0 else 65536)
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)
            count(len(data))
            limit -= len(data) if limit > 0 else 0
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def breaking_line(folder: Path, agent: Path) -> Iterator[BreakingLine]:
    line = BreakingLine(folder / "line.sock", agent)
    try:
        yield line
    finally:
        line.close()
