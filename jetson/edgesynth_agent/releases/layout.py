"""Where deployed networks and the agent lie on a device."""

import os
import re
from typing import Mapping, NamedTuple

from edgesynth_agent.errors import RequestError

__all__ = ["Layout", "checked_name", "make_layout"]

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


class Layout(NamedTuple):
    """Folders and files by what they are for; `user` tells whether they are a user's own, without root.

    `state` holds `models` (NAME/releases/ID, NAME/current), the agent's `store` and the `lock` of deploys. `agents` has
    a folder for each version of the agent, and `current`. `command` and `helper` are empty where there is none.
    """

    user: bool
    state: str
    models: str
    store: str
    lock: str
    agents: str
    command: str
    helper: str
    units: str
    socket: str

    def model(self, name: str) -> str:
        return os.path.join(self.models, name)

    def releases(self, name: str) -> str:
        return os.path.join(self.models, name, "releases")

    def release(self, name: str, release_id: str) -> str:
        return os.path.join(self.releases(name), release_id)

    def partial(self, name: str, release_id: str) -> str:
        """A release that is being made."""
        return self.release(name, release_id) + ".partial"

    def current(self, name: str) -> str:
        return os.path.join(self.models, name, "current")


def make_layout(environ: Mapping[str, str], root: str = "/", user: bool = False) -> Layout:
    """The places of the system below `root`, or those of a user by the XDG base directory specification."""
    if not user:
        state = os.path.join(root, "var/lib/edgesynth")
        return Layout(
            user=False,
            state=state,
            models=os.path.join(state, "models"),
            store=os.path.join(state, "agent/store"),
            lock=os.path.join(state, "deploy.lock"),
            agents=os.path.join(root, "opt/edgesynth/agent"),
            command=os.path.join(root, "usr/local/bin/edgesynth-agent"),
            helper=os.path.join(root, "usr/local/lib/edgesynth/edgesynth-power"),
            units=os.path.join(root, "etc/systemd/system"),
            socket=os.path.join(root, "run/edgesynth/agent.sock"),
        )
    home = environ.get("HOME") or os.path.expanduser("~")
    state = os.path.join(_absolute(environ, "XDG_DATA_HOME", home, ".local/share"), "edgesynth")
    runtime = environ.get("XDG_RUNTIME_DIR") or "/run/user/{}".format(os.getuid())
    if not os.path.isdir(runtime):
        runtime = os.path.join(state, "run")
    return Layout(
        user=True,
        state=state,
        models=os.path.join(state, "models"),
        store=os.path.join(state, "store"),
        lock=os.path.join(state, "deploy.lock"),
        agents=os.path.join(state, "agent"),
        command="",
        helper="",
        units=os.path.join(_absolute(environ, "XDG_CONFIG_HOME", home, ".config"), "systemd/user"),
        socket=os.path.join(runtime, "edgesynth/agent.sock"),
    )


def checked_name(name: object) -> str:
    """The name of a deployed network. Raises RequestError for one that is no plain name of a folder."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith(".new"):
        raise RequestError(
            "'{}' is no name of a deployed network".format(str(name)[:80]),
            "name",
            "give lower-case letters, digits, '.', '_' and '-', 64 at most, as in cam-1",
        )
    return name


def _absolute(environ: Mapping[str, str], variable: str, home: str, otherwise: str) -> str:
    """A relative one is ignored, as the specification demands."""
    path = environ.get(variable, "")
    return path if os.path.isabs(path) else os.path.join(home, otherwise)
