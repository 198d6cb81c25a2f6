"""How the workstation reaches a device: commands, files, the agent's socket. The seam, and its fake, this machine."""

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from edgesynth.errors import DeviceError

__all__ = ["Answer", "LocalTransport", "Transport", "error_of_exit"]

QUESTION_LIMIT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What a command on the device said: its exit code, stdout, stderr."""

    code: int
    out: str
    err: str


class Transport(ABC):
    """One connection to a device, for as long as the `with` block lasts. `host` is what the user calls the device.

    Commands are lines for the device's POSIX shell. Every failure is a DeviceError that names the host and what to do.
    When the connection breaks, whatever uses it fails within some seconds; it never hangs.
    """

    host: str
    root: str = "/"
    """Where the device's own folders are; other than / in tests alone."""

    @abstractmethod
    def __enter__(self) -> Self:
        """Connect. Raises DeviceError."""

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def open(self, command: str) -> "subprocess.Popen[bytes]":
        """Start a command; stdin, stdout and stderr are pipes. It sees the end of stdin when the connection breaks."""

    @abstractmethod
    def forward(self, remote: str) -> Path:
        """A socket on this machine that leads to that socket on the device, until the connection ends."""

    @abstractmethod
    def broken(self) -> str | None:
        """Why the connection does not stand any more, in one line; None while it does."""

    def ask(self, command: str, limit_s: float = QUESTION_LIMIT_S) -> Answer:
        """Run a command to its end. Raises DeviceError when the connection breaks or it takes longer."""
        with self.open(command) as process:
            try:
                out, err = process.communicate(b"", limit_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise DeviceError(
                    f"{self.host}: no answer in {limit_s:g} s; is the device busy or the line slow?"
                ) from None
        self._require()
        return Answer(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def send(self, file: IO[bytes], command: str) -> Answer:
        """Run a command whose stdin is the rest of that file."""
        with self.open(command) as process:
            stdin, process.stdin = process.stdin, None
            assert stdin is not None
            # It may end before the file does: then its exit code tells.
            with suppress(BrokenPipeError, ConnectionResetError):
                while chunk := file.read(256 * 1024):
                    stdin.write(chunk)
            with suppress(BrokenPipeError, ConnectionResetError):
                stdin.close()
            out, err = process.communicate()
        self._require()
        return Answer(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def _require(self) -> None:
        why = self.broken()
        if why is not None:
            raise DeviceError(f"{self.host}: {why}")


def error_of_exit(host: str, what: str, answer: Answer) -> DeviceError:
    """A command that failed, as an error: the last line that it wrote."""
    lines = answer.err.strip().splitlines()
    return DeviceError(f"{host}: {what}: {lines[-1] if lines else f'exit code {answer.code}'}")


class LocalTransport(Transport):
    """This machine in the place of a device, its folders below `root`: for tests. `cut` breaks the connection."""

    def __init__(self, root: Path, host: str = "local", environment: Mapping[str, str] | None = None) -> None:
        self.host = host
        self.root = str(root)
        self.commands: list[str] = []
        self._environment = {**os.environ, **(environment or {})}
        self._cut = False
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._cut = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.clear()

    def open(self, command: str) -> "subprocess.Popen[bytes]":
        self._require()
        self.commands.append(command)
        process = subprocess.Popen(_shell(command), stdin=-1, stdout=-1, stderr=-1, cwd="/", env=self._environment)
        self._processes.append(process)
        return process

    def forward(self, remote: str) -> Path:
        self._require()
        return Path(remote)

    def broken(self) -> str | None:
        return "the connection broke; deploy again" if self._cut else None

    def cut(self) -> None:
        """From now on nothing reaches the other side, which sees the end of its stdin."""
        self._cut = True
        for process in self._processes:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()


def _shell(command: str) -> Sequence[str]:
    return ["/bin/sh", "-c", command]
