"""Take everything away that deploys made on this device."""

import os
from typing import Any, Callable, Dict

from edgesynth_agent.releases import disk, store
from edgesynth_agent.releases.layout import Layout
from edgesynth_agent.releases.lock import DeployLock

__all__ = ["uninstall"]


def uninstall(layout: Layout, remove_agent: Callable[[], None], lock: DeployLock) -> Dict[str, Any]:
    """Networks, agent, its store, units, user; the lock last. May be repeated after it was cut off. {networks}."""
    networks = store.names(layout)
    for name in networks:
        store.remove(layout, name)
    remove_agent()
    for name in sorted(os.listdir(layout.state)):
        path = os.path.join(layout.state, name)
        if path != layout.lock:
            disk.remove_tree(path) if os.path.isdir(path) and not os.path.islink(path) else disk.remove(path)
    disk.remove_tree(os.path.dirname(layout.socket))
    lock.remove()
    os.rmdir(layout.state)
    if layout.user:
        home = os.path.expanduser("~")
        _remove_empty(layout.units, home)
        _remove_empty(os.path.dirname(layout.state), home)
    else:
        _remove_empty(os.path.dirname(layout.agents), os.path.dirname(os.path.dirname(layout.agents)))
    return {"networks": networks}


def _remove_empty(folder: str, stop: str) -> None:
    """A folder that is empty, and those above it that then are, up to `stop`, which stays."""
    while folder.startswith(stop + os.sep) and os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)
        folder = os.path.dirname(folder)
