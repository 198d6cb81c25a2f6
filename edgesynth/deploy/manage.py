"""What is done with deployed networks besides deploying: looked at, rolled back, taken away."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from edgesynth.deploy.agent_file import packed_agent
from edgesynth.deploy.board import BoardSession
from edgesynth.deploy.journal import DeployJournal, journal_path
from edgesynth.deploy.lease import AgentLease
from edgesynth.deploy.session import open_session
from edgesynth.devices.transport import Transport
from edgesynth.errors import ConnectionLostError, EdgesynthError, IncompatibleError

__all__ = ["rollback", "status", "uninstall"]


def status(transport: Transport, *, user: bool = False) -> list[dict[str, Any]]:
    """The networks on the device, as its agent describes them (`store.status`); nothing is changed."""
    with _session(transport, user, None) as session:
        return list(session.ask("status")["networks"])


def rollback(transport: Transport, name: str | None, holder: str, *, user: bool = False) -> tuple[str, str]:
    """Make the release before the current one current: (network, release). `name` None is the only network there.

    Raises IncompatibleError where there is none to go back to.
    """
    with _session(transport, user, holder) as session:
        name = name or _only(transport, session)
        try:
            release = str(session.ask("rollback", name=name)["id"])
        except ConnectionLostError as error:
            raise ConnectionLostError(
                f"{transport.host}: the connection was lost before the answer came, and it may be rolled back all the "
                "same: look with --status before you do it again, which would go back one more"
            ) from error
    DeployJournal(journal_path(), host=transport.host, name=name).write(event="rollback", release=release)
    return name, release


def uninstall(transport: Transport, name: str | None, holder: str, *, user: bool = False) -> list[str]:
    """Take a network away or, without a name, all of them with the agent, its units, user and data; their names."""
    with ExitStack() as held:
        session = held.enter_context(_session(transport, user, holder))
        if name is not None:
            session.ask("remove", name=name)
            gone = [name]
        else:
            lease = held.enter_context(AgentLease(transport, session, holder))
            lease.take()  # nobody measures there any more
            gone = list(session.ask("uninstall")["networks"])
    DeployJournal(journal_path(), host=transport.host, name=name).write(event="uninstall", networks=gone)
    return gone


def _only(transport: Transport, session: BoardSession) -> str:
    names = [each["name"] for each in session.ask("status")["networks"]]
    if not names:
        raise IncompatibleError(f"{transport.host}: nothing is deployed there")
    if len(names) > 1:
        raise EdgesynthError(f"{transport.host}: which one? --name {' or --name '.join(names)}")
    return str(names[0])


@contextmanager
def _session(transport: Transport, user: bool, holder: str | None) -> Iterator[BoardSession]:
    with ExitStack() as held:
        packed = held.enter_context(packed_agent())
        held.enter_context(transport)
        yield held.enter_context(open_session(transport, packed(), user=user, holder=holder))
