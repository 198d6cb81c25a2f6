"""The first words with a device: what is there, and how to start a session with this workstation's agent on it."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from edgesynth.deploy.agent_file import AgentFile
from edgesynth.devices.transport import Transport, error_of_exit
from edgesynth.errors import DeviceError, EdgesynthError, StorageError

__all__ = ["Probe", "agent_on_device", "probe"]

LEAST_PYTHON = (3, 6)
PYTHON = ("python3", "-B")
"""Root would leave byte code of whatever it imports beside it."""
NO_HOME = "-s"
"""Modules in a home are for its user: sudo may keep $HOME, and neither root nor the agent's user is to run those."""

# One question, in the shell of any device: nothing is changed by it.
_PROBE = """\
echo "uid=$(id -u)"
echo "machine=$(uname -m)"
echo "python=$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
if [ "$(id -u)" != 0 ]; then sudo -n true 2>/dev/null && echo sudo=yes || echo sudo=no; fi
f={agent}
echo "place=$f"
[ -f "$f" ] && echo "installed=$(sha256sum <"$f" | cut -d ' ' -f 1)"
true"""


@dataclass(frozen=True)
class Probe:
    """Who one is there, and what there is. `place` is where this agent lies once it is installed, `installed` the
    SHA-256 of what lies there."""

    uid: int
    machine: str
    python: str | None
    sudo: bool
    place: str
    installed: str | None


def probe(transport: Transport, agent: AgentFile, user: bool = False) -> Probe:
    """Ask. Raises DeviceError for a device without a shell that answers, or without a Python that the agent takes."""
    answer = transport.ask(_PROBE.replace("{agent}", _installed(agent, user, transport.root)))
    found = dict(re.findall(r"^(\w+)=(.*)$", answer.out, flags=re.MULTILINE))
    if not found.get("uid", "").isdigit():
        raise error_of_exit(transport.host, "its shell does not answer as expected", answer)
    python = found.get("python") or None
    if python is None:
        raise DeviceError(f"{transport.host}: it has no python3; sudo apt-get install python3")
    if tuple(map(int, python.split(".")[:2])) < LEAST_PYTHON:
        raise DeviceError(f"{transport.host}: its python3 is {python}, and the agent needs 3.6 or later")
    return Probe(
        uid=int(found["uid"]),
        machine=found.get("machine", ""),
        python=python,
        sudo=found.get("sudo") == "yes",
        place=found.get("place", ""),
        installed=found.get("installed"),
    )


@contextmanager
def agent_on_device(
    transport: Transport, agent: AgentFile, found: Probe, user: bool
) -> Iterator[tuple[list[str], list[str]]]:
    """The words that start this agent on the device, as root unless `user`, and options of its session. Where it is not
    installed, it is sent into a temporary folder that is gone afterwards, also when the connection broke.

    Raises EdgesynthError where there are no rights to become root.
    """
    words: list[str] = [*PYTHON] if user else [*PYTHON, NO_HOME]
    if not user and found.uid != 0 and transport.root == "/":
        if not found.sudo:
            raise EdgesynthError(
                f"{transport.host}: deploying for the system needs root, and sudo asks for a password. Log in as root, "
                "allow it (as root: echo 'USER ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/edgesynth), or deploy into "
                "that user's home with --user"
            )
        words = ["sudo", "-n", *words]
    if found.installed == agent.sha256:
        yield [*words, found.place], []
        return
    folder = _send(transport, agent)
    try:
        yield [*words, f"{folder}/edgesynth-agent.pyz"], ["--sent"]
    finally:
        with suppress(DeviceError):  # it is in a folder for what is temporary
            transport.ask(shlex.join(["rm", "-rf", "--", folder]))


def _installed(agent: AgentFile, user: bool, root: str) -> str:
    """Where the agent lies when it is installed, as a word of the shell."""
    file = f"edgesynth/agent/{agent.version}/edgesynth-agent.pyz"
    if user:
        return f'"${{XDG_DATA_HOME:-$HOME/.local/share}}/{file}"'
    return shlex.quote(f"{root.rstrip('/')}/opt/{file}")


def _send(transport: Transport, agent: AgentFile) -> str:
    """Into a folder that only the user who logged in can enter."""
    made = transport.ask("umask 077; mktemp -d -t edgesynth.XXXXXXXX")
    folder = made.out.strip().rpartition("\n")[2]
    if made.code != 0 or not folder.startswith("/"):
        raise _no_room(transport.host, "no temporary folder can be made", made.err)
    path = shlex.quote(f"{folder}/edgesynth-agent.pyz")
    with agent.path.open("rb") as file:
        sent = transport.send(file, f"cat >{path} && sha256sum <{path}")
    if sent.code != 0 or sent.out.split()[:1] != [agent.sha256]:
        with suppress(DeviceError):
            transport.ask(shlex.join(["rm", "-rf", "--", folder]))
        raise _no_room(transport.host, "the agent did not arrive whole", sent.err)
    return folder


def _no_room(host: str, what: str, said: str) -> StorageError:
    lines = said.strip().splitlines()
    return StorageError(f"{host}: {what}{f' ({lines[-1]})' if lines else ''}; is its disk full? free some space there")
