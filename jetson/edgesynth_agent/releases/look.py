"""What a deploy wants to know of the device before it changes anything."""

import os
import platform
import time
from typing import Any, Dict, Mapping

from edgesynth_agent import __version__, board
from edgesynth_agent.releases.install import installed_version
from edgesynth_agent.releases.layout import Layout
from edgesynth_agent.releases.service import AgentService, systemd_version
from edgesynth_agent.releases.store import current_id, names
from edgesynth_agent.simulation import simulation
from edgesynth_agent.targets import targets_of

__all__ = ["look"]


def look(layout: Layout, service: AgentService, runtime: Dict[str, Any], environ: Mapping[str, str]) -> Dict[str, Any]:
    """JSON object; what is unknown is None. `runtime` is what a worker said of the runtimes (`trial`)."""
    l4t, _ = board.l4t_version()
    jetpack, _ = board.jetpack_of(l4t)
    cuda, _ = board.cuda_version()
    mode, mode_reason = board.power_mode()
    total, available = board.memory_bytes()
    disk = os.statvfs(_existing(layout.state))
    return {
        "machine": platform.machine(),
        "model": board.first_text(os.path.join(board.device_tree(), "model")),
        "hostname": platform.node(),
        "kernel": platform.release(),
        "targets": targets_of(),
        "simulated": simulation(),
        "l4t": l4t,
        "jetpack": jetpack,
        "cuda": cuda,
        "python": platform.python_version(),
        "runtime": runtime,
        "memory_bytes": total,
        "memory_available_bytes": available,
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "disk": _existing(layout.state),
        "unix_s": time.time(),
        "power_mode": mode,
        "power_mode_reason": mode_reason,
        "systemd": systemd_version(),
        "service": service.kind,
        "linger": os.path.exists("/var/lib/systemd/linger/" + environ.get("USER", "")) if layout.user else None,
        "agent": __version__,
        "agent_installed": installed_version(layout),
        "networks": {name: current_id(layout, name) for name in names(layout)},
    }


def _existing(path: str) -> str:
    """The folder, or the first above it that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
