"""The agent that goes onto the device: one file, made from the package that is installed here."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgesynth.errors import DeviceError

__all__ = ["AgentFile", "make_agent_file", "packed_agent"]

LIMIT_S = 60.0
VERSION_LETTERS = 16


@dataclass(frozen=True)
class AgentFile:
    """The file, its SHA-256, and the name that its folder on a device has."""

    path: Path
    sha256: str

    @property
    def version(self) -> str:
        return self.sha256[:VERSION_LETTERS]


@contextmanager
def packed_agent() -> Iterator[Callable[[], AgentFile]]:
    """The installed agent as a file, made while the block does something else; call to have it. Raises DeviceError."""
    with TemporaryDirectory(prefix="edgesynth-") as folder, ThreadPoolExecutor(1) as pool:
        yield pool.submit(make_agent_file, Path(folder)).result


def make_agent_file(folder: Path) -> AgentFile:
    """Pack the installed agent into `folder`. The same agent gives the same bytes. Raises DeviceError."""
    spec = importlib.util.find_spec("edgesynth_agent")
    if spec is None or spec.origin is None:
        raise DeviceError("the package edgesynth_agent is not installed here; install edgesynth again")
    path = folder / "edgesynth-agent.pyz"
    # In a child: the two sides share no code.
    root = str(Path(spec.origin).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "edgesynth_agent.pack", str(path)],
        check=False,
        capture_output=True,
        timeout=LIMIT_S,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))},
    )
    if done.returncode != 0:
        raise DeviceError(f"the agent could not be packed: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return AgentFile(path, hashlib.sha256(path.read_bytes()).hexdigest())
