"""The workstation's end of a session on the device (`edgesynth-agent deploy-session`)."""

import json
import shlex
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from edgesynth.devices.transport import Transport
from edgesynth.errors import (
    BusyDeviceError,
    ConnectionLostError,
    DeviceError,
    EdgesynthError,
    IncompatibleError,
    RefusedByDeviceError,
    StorageError,
)

__all__ = ["BoardSession"]

PROTOCOL = 1
PING_S = 3.0
LAST_LINES = 10
END_LIMIT_S = 30.0


class BoardSession:
    """One session, for as long as the `with` block lasts; holds the device's deploy lock, unless it only looks.

    `prefix` are the words before the session's own (sudo, python3, the agent's file). A thread tells the device that
    this program lives. When it does not any more, the device undoes what was not committed.
    """

    def __init__(self, transport: Transport, prefix: Sequence[str], options: Sequence[str]) -> None:
        self._transport = transport
        self._command = shlex.join([*prefix, "deploy-session", *options])
        self._process: subprocess.Popen[bytes] | None = None
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._stderr: deque[str] = deque(maxlen=LAST_LINES)
        self._asked = 0
        self.hello: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process = process = self._transport.open(self._command)
        self._threads = [
            threading.Thread(target=each, args=(process,), daemon=True) for each in (self._listen, self._ping)
        ]
        for thread in self._threads:
            thread.start()
        try:
            self.hello = self._line()
            if "error" in self.hello:
                raise self._failure(self.hello["error"])
            if self.hello.get("session") != PROTOCOL:
                raise DeviceError(
                    f"{self._transport.host}: its agent speaks another language; this is a fault of edgesynth"
                )
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The result of one step. Raises the EdgesynthError that the device told; ConnectionLostError: it is gone."""
        self._asked += 1
        self._send({"id": self._asked, "do": do, **arguments})
        while True:
            line = self._line()
            if line.get("id") == self._asked:
                if "error" in line:
                    raise self._failure(line["error"])
                return dict(line.get("result") or {})

    def _send(self, document: dict[str, Any]) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        with self._writing:
            try:
                process.stdin.write(json.dumps(document).encode() + b"\n")
                process.stdin.flush()
            except (OSError, ValueError):
                pass  # it has ended: reading tells how

    def _line(self) -> dict[str, Any]:
        """The next JSON object that it writes; what a login script prints is passed over."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        for text in iter(process.stdout.readline, b""):
            with suppress(ValueError):
                document = json.loads(text)
                if isinstance(document, dict):
                    return document
        raise self._gone()

    def _gone(self) -> ConnectionLostError:
        why = self._transport.broken()
        if why is None:
            assert self._process is not None
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_LIMIT_S)
            why = self._transport.broken()
        if why is None:
            said = f"; it said: {self._stderr[-1]}" if self._stderr else ""
            why = f"the session on the device ended by itself{said}; deploy again, it goes on where it was"
        return ConnectionLostError(f"{self._transport.host}: {why}")

    def _failure(self, error: dict[str, Any]) -> EdgesynthError:
        """As an error of this side, by what the device calls it."""
        host = self._transport.host
        message = f"{host}: {error.get('where')}: {error.get('what')}; {error.get('next')}"
        kind = error.get("kind")
        if kind == "BusyError":
            return BusyDeviceError(message, error.get("silent_s"))
        if kind == "StorageError":
            return StorageError(message)
        if kind == "RefusedError":
            return RefusedByDeviceError(message)
        if kind in ("NotFoundError", "UnsupportedError"):
            return IncompatibleError(message)
        return EdgesynthError(message) if kind == "RequestError" else DeviceError(message)

    def _ping(self, process: "subprocess.Popen[bytes]") -> None:
        while not self._closing.wait(PING_S):
            self._send({"do": "ping"})

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stderr is not None
        with suppress(ValueError):
            for line in iter(process.stderr.readline, b""):
                self._stderr.append(line.decode(errors="replace").strip())

    def _end(self) -> None:
        """Close its stdin and wait: it undoes what is to be undone."""
        process = self._process
        if process is None:
            return
        self._closing.set()
        with self._writing, suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(END_LIMIT_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        self._process = None
