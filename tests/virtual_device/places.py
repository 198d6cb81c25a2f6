"""Where the virtual devices of this machine lie, and the commands that set them up."""

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["MACHINES", "ROOTS", "VirtualDeviceError", "locked", "run", "what_is_missing"]

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgesynth" / "virtual_device"
ROOTS = _CACHE / "roots"
MACHINES = _CACHE / "machines"

# The Debian package of each tool.
_TOOLS = {
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "systemd-nspawn": "systemd-container",
}


class VirtualDeviceError(Exception):
    """What was wrong and what to do, in one line."""


def what_is_missing() -> str | None:
    """What this machine lacks to boot a virtual device, and how to get it; None when it lacks nothing."""
    if os.uname().sysname != "Linux" or os.geteuid() != 0:
        return "root on Linux"
    packages = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if packages:
        return "apt-get install " + " ".join(packages)
    return None


def run(*command: str | Path, stdin: str | None = None) -> str:
    """What the command prints. Raises VirtualDeviceError with its last words when it fails."""
    done = subprocess.run(list(map(str, command)), input=stdin or "", capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
        raise VirtualDeviceError(f"{' '.join(map(str, command))}: {words[-1]}")
    return done.stdout


@contextlib.contextmanager
def locked(folder: Path):
    """Alone among all processes that work on this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
