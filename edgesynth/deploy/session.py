"""A session on a device, from the first words: the agent sent if need be, the lock waited for if its holder is dead."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from edgesynth.deploy.agent_file import AgentFile
from edgesynth.deploy.board import BoardSession
from edgesynth.deploy.bootstrap import agent_on_device, probe
from edgesynth.deploy.request import Tell
from edgesynth.devices.transport import Transport
from edgesynth.errors import BusyDeviceError

__all__ = ["open_session"]

# A session lets go of its lock after 20 s without a sign of life; who missed two of them is dead.
SILENT_S, PATIENCE_S, LOOK_S = 7.0, 40.0, 1.0


@contextmanager
def open_session(
    transport: Transport, agent: AgentFile, *, user: bool, holder: str | None, tell: Tell = lambda text: None
) -> Iterator[BoardSession]:
    """For the time of a `with` block. `holder` None only looks: it takes no lock and can change nothing.

    Raises DeviceError, BusyDeviceError where somebody else deploys, EdgesynthError where there are no rights.
    """
    with ExitStack() as held:
        words, options = held.enter_context(agent_on_device(transport, agent, probe(transport, agent, user), user))
        options += ["--user"] if user else ["--root", transport.root]
        options += ["--look"] if holder is None else ["--holder", holder]
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                session = held.enter_context(BoardSession(transport, words, options))
                break
            except BusyDeviceError as error:
                if error.silent_s is None or error.silent_s < SILENT_S or time.monotonic() > end_s:
                    raise
                tell(f"waiting for a deploy that was cut off: {error}")
                time.sleep(LOOK_S)
        yield session
