"""Boards that are played: real agents, each a process on a tree of files that say TX2, with paced networks."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.energy.provenance import HERE
from edgesynth.devices import AgentClient
from edgesynth.errors import DeviceError

__all__ = ["PlayedBoard", "played_boards"]

START_LIMIT_S, STOP_LIMIT_S = 30.0, 15.0
TREE = {
    "proc/device-tree/model": "quill\0",
    "proc/device-tree/compatible": "nvidia,p2597-0000+p3310-1000\0nvidia,tegra186\0",
}


@dataclass(frozen=True)
class PlayedBoard:
    socket: Path
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"tx2@unix://{self.socket}"

    def kill(self) -> None:
        """SIGKILL to its agent, as if the board had lost its power: what it measures is lost."""
        self.process.kill()


@contextmanager
def played_boards(folder: Path, count: int) -> Iterator[list[PlayedBoard]]:
    """So many, below `folder`, whose path must be short: sockets lie there."""
    with ExitStack() as stack:
        boards = [stack.enter_context(_played(folder / f"board-{number}")) for number in range(count)]
        yield boards


@contextmanager
def _played(folder: Path) -> Iterator[PlayedBoard]:
    for name, text in TREE.items():
        file = folder / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    socket = folder / "agent.sock"
    path = os.pathsep.join(filter(None, (str(HERE / "paced"), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "edgesynth_agent", "serve", "--socket", str(socket)]
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            # A runtime folder of its own: agents of one machine measure one after the other.
            [*command, "--store", str(folder / "models"), "--root", str(folder / "tree"), "--runtime", str(folder)],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        _wait_until_it_answers(AgentClient(socket, "tx2"))
        yield PlayedBoard(socket, process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()


def _wait_until_it_answers(client: AgentClient) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while True:
        try:
            client.health()
        except DeviceError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.05)
        else:
            return
