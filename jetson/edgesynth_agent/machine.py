"""The machine, which its agents share: two that measure at once would each find the other's load in its figures."""

import fcntl
import os

from edgesynth_agent.errors import StorageError

__all__ = ["RUNTIME", "Machine"]

RUNTIME = "/run"


class Machine:
    """A lock on the folder `runtime`, which all agents of a machine name alike, whoever runs them.

    The folder itself is locked (flock(2)): anybody may, who may read it, and no file is left behind. The kernel lets go
    when the agent ends, however it does. For one thread at a time. Raises StorageError when it cannot be opened.
    """

    def __init__(self, runtime: str = RUNTIME) -> None:
        try:
            self._handle = os.open(runtime, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            where = "the runtime folder " + runtime
            raise StorageError(error.strerror or str(error), where, "give another --runtime") from error

    def take(self) -> bool:
        """Whether it is this agent's now; no if another has it."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_UN)
