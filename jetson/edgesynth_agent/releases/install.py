"""The agent on the device: versions side by side, one of them current, and its units."""

import glob
import os
import pkgutil
from typing import Any, Dict, List, NamedTuple, Optional

from edgesynth_agent.errors import AgentError, RefusedError
from edgesynth_agent.files import open_file, sha256_of
from edgesynth_agent.health import read_health
from edgesynth_agent.releases import disk
from edgesynth_agent.releases.layout import Layout
from edgesynth_agent.releases.service import AgentService, systemd_version

__all__ = ["AGENT", "SYSTEM_UNITS", "install_agent", "installed_version", "remove_agent", "version_of"]

AGENT = "edgesynth-agent.pyz"
SYSTEM_UNITS = ("edgesynth-agent.service", "edgesynth-power@.service")
ADDITIONS = (245, 249, 254)
"""Versions of systemd from which on there is more to say to it."""
_HELPER = "edgesynth-power"
_FOLDER = "edgesynth-agent.service.d"
_HEALTH_LIMIT_S = 10.0
_VERSION_LETTERS = 16


class _File(NamedTuple):
    data: bytes
    mode: int


def version_of(sha256: str) -> str:
    """The name of the folder of an agent with that digest."""
    return sha256[:_VERSION_LETTERS]


def installed_version(layout: Layout) -> Optional[str]:
    """The version that is current; None when no agent was put there by a deploy."""
    try:
        return os.readlink(os.path.join(layout.agents, "current"))
    except OSError:
        return None


def install_agent(layout: Layout, service: AgentService, source: str) -> Dict[str, Any]:
    """Make the file `source` the agent of this device: {changed, version, former, health}.

    Does nothing when it is that already, and answers. When the new one does not come up, the former one runs again, or
    nothing is left when there was none; then raises AgentError.
    """
    _adopt(layout)
    digest = sha256_of(source)
    version, former = version_of(digest), installed_version(layout)
    files = _files(layout, service)
    changed = {path: file for path, file in files.items() if _now(path) != file}
    if former == version and not changed and service.active():
        try:
            return {"changed": False, "version": version, "former": former, "health": _health(layout)}
        except AgentError:
            pass  # started anew below
    _put_version(layout, source, version, digest)
    before = {path: _now(path) for path in changed}
    try:
        service.prepare()
        for path, file in changed.items():
            disk.make_folder(os.path.dirname(path))
            disk.write(path, file.data, file.mode)
        _point(layout, version)
        service.restart()
        health = _health(layout)
    except AgentError as error:
        raise _put_back(layout, service, before, former, error) from error
    _prune(layout, [version, former])
    return {"changed": True, "version": version, "former": former, "health": health}


def remove_agent(layout: Layout, service: AgentService) -> None:
    """Stop the agent and take away all that `install_agent` made, but for the store."""
    service.remove()
    enabled = glob.glob(os.path.join(glob.escape(layout.units), "*.wants", "edgesynth-power@*.service"))
    for path in enabled + list(_files(layout, service, every=True)):
        if os.path.isdir(os.path.dirname(path)):
            disk.remove(path)
    if os.path.lexists(layout.command):  # a file rather than a link, where install.sh put it there
        disk.remove(layout.command)
    for folder in (os.path.join(layout.units, _FOLDER), os.path.dirname(layout.helper)):
        if os.path.isdir(folder) and not os.listdir(folder):
            os.rmdir(folder)
    disk.remove_tree(layout.agents)
    service.forget()


def _health(layout: Layout) -> Dict[str, Any]:
    return read_health(layout.socket, _HEALTH_LIMIT_S)


def _files(layout: Layout, service: AgentService, every: bool = False) -> Dict[str, _File]:
    """What lies in the system besides the agent itself, by its path; `every` also what this systemd does not know."""
    agent = os.path.join(layout.agents, "current", AGENT)
    if layout.user:
        if service.kind == "session" and not every:
            return {}
        text = _data("user/edgesynth-agent.service").decode()
        text = text.replace("@AGENT@", _quoted(agent)).replace("@STORE@", _quoted(layout.store))
        return {os.path.join(layout.units, SYSTEM_UNITS[0]): _File(text.encode(), 0o644)}
    files = {layout.helper: _File(_data(_HELPER), 0o755)}
    for name in SYSTEM_UNITS:
        files[os.path.join(layout.units, name)] = _File(_data(name), 0o644)
    known = systemd_version() or 0
    for version in ADDITIONS:
        if every or version <= known:
            name = os.path.join(_FOLDER, "{}.conf".format(version))
            files[os.path.join(layout.units, name)] = _File(_data(name), 0o644)
    return files


def _data(name: str) -> bytes:
    data = pkgutil.get_data("edgesynth_agent", "units/" + name)
    assert data is not None
    return data


def _quoted(path: str) -> str:
    """For a unit file, in which '%' and spaces mean something."""
    return '"{}"'.format(path.replace("%", "%%").replace('"', '\\"'))


def _now(path: str) -> Optional[_File]:
    try:
        with open_file(path) as file:
            return _File(file.read(), os.fstat(file.fileno()).st_mode & 0o777)
    except OSError:
        return None


def _adopt(layout: Layout) -> None:
    """An agent that install.sh put there becomes a version like others, so that there is a way back to it."""
    if installed_version(layout) is None and os.path.isfile(layout.command) and not os.path.islink(layout.command):
        digest = sha256_of(layout.command)
        _put_version(layout, layout.command, version_of(digest), digest)
        disk.point(os.path.join(layout.agents, "current"), version_of(digest))


def _put_version(layout: Layout, source: str, version: str, digest: str) -> None:
    folder = os.path.join(layout.agents, version)
    place = os.path.join(folder, AGENT)
    if os.path.isfile(place) and sha256_of(place) == digest:
        return
    disk.make_folder(folder)
    with open_file(source) as file:
        disk.write(place, file.read(), 0o755)
    if sha256_of(place) != digest:
        raise RefusedError("it is not what was sent", place, "deploy again")


def _point(layout: Layout, version: str) -> None:
    disk.point(os.path.join(layout.agents, "current"), version)
    if layout.command:
        disk.make_folder(os.path.dirname(layout.command))
        disk.point(layout.command, os.path.join(layout.agents, "current", AGENT))


def _put_back(
    layout: Layout,
    service: AgentService,
    before: Dict[str, Optional[_File]],
    former: Optional[str],
    error: AgentError,
) -> AgentError:
    """Go back to the former agent; what to say of it."""
    for path, file in before.items():
        if file is None:
            disk.remove(path)
        else:
            disk.write(path, file.data, file.mode)
    if former is None:
        remove_agent(layout, service)
        return AgentError(error.what, "the agent did not come up", "nothing of it is left; " + error.next_step)
    _point(layout, former)
    try:
        service.restart()
        _health(layout)
    except AgentError as again:
        what = "{}; nor does the former one ({})".format(error.what, again.what)
        return AgentError(what, "the new agent did not come up", error.next_step)
    return AgentError(error.what, "the new agent did not come up", "the former one runs again; " + error.next_step)


def _prune(layout: Layout, keep: List[Optional[str]]) -> None:
    for name in os.listdir(layout.agents):
        if name not in keep and not name.startswith("current"):
            disk.remove_tree(os.path.join(layout.agents, name))
