"""The agent on this very machine, as a child process: the device that is always there."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from edgesynth.devices.client import AgentClient
from edgesynth.devices.deadline import Deadline
from edgesynth.errors import DeviceError

__all__ = ["HostAgent"]

_START_LIMIT_S = 30.0
_STOP_LIMIT_S = 15.0
_POLL_S = 0.02

_SOCKET = "agent.sock"
_LOG = "agent.log"


class HostAgent:
    """An agent in a folder of its own, for as long as the `with` block lasts; gives its client.

    The agent is gone afterwards, however the block was left. If this process is killed, the agent ends by itself,
    because its stdin closes. May be entered again. Raises DeviceError when the agent does not start.
    """

    def __enter__(self) -> AgentClient:
        with ExitStack() as resources:
            folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="edgesynth-")))
            process = _start(folder)
            resources.callback(_end, process)
            client = AgentClient(folder / _SOCKET, "host")
            _wait_until_it_answers(process, client, folder / _LOG)
            self._resources = resources.pop_all()
        return client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()


def _start(folder: Path) -> subprocess.Popen[bytes]:
    serve = [sys.executable, "-m", "edgesynth_agent", "serve", "--until-eof"]
    with (folder / _LOG).open("wb") as log:
        return subprocess.Popen(
            [*serve, "--socket", str(folder / _SOCKET), "--store", str(folder / "models")],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=_environment(),
            # Ctrl-C in the terminal is for this process, which then ends the agent in order.
            start_new_session=True,
        )


def _environment() -> dict[str, str]:
    """With the agent importable in the child. It is found, not imported: the two sides share no code."""
    spec = importlib.util.find_spec("edgesynth_agent")
    if spec is None or spec.origin is None:
        raise DeviceError("host: the package edgesynth_agent is not installed; install edgesynth again")
    root = str(Path(spec.origin).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def _wait_until_it_answers(process: subprocess.Popen[bytes], client: AgentClient, log: Path) -> None:
    deadline = Deadline(_START_LIMIT_S)
    while True:
        try:
            client.health()
        except DeviceError:
            if process.poll() is not None or deadline.expired:
                said = log.read_text(errors="replace").strip() or "nothing"
                raise DeviceError(f"host: the agent did not start; it said: {said}") from None
        else:
            return
        time.sleep(_POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_LIMIT_S)
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
