"""The processes of a virtual device, seen from outside, and the control group that holds them together."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

from tests.virtual_device.places import VirtualDeviceError

__all__ = ["Group", "kill_matching", "memory_bytes", "start_time"]

_END_LIMIT_S = 10.0


class Group:
    """A control group (version 2) with nothing but one device in it: it ends all of it at once."""

    def __init__(self, device: str) -> None:
        hierarchies = _hierarchies("cgroup2")
        if not hierarchies:
            raise VirtualDeviceError("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
        self.folder = hierarchies[0] / f"edgesynth-{device}"

    def create(self) -> None:
        self.folder.mkdir(exist_ok=True)

    def processes(self) -> list[int]:
        found = []
        for folder, _, _ in os.walk(self.folder):  # which passes over a group that has just been removed
            with contextlib.suppress(OSError):
                found += [int(word) for word in (Path(folder) / "cgroup.procs").read_text().split()]
        return found

    def kill(self) -> None:
        """SIGKILL to all, at once; returns when they are gone."""
        end_s = time.monotonic() + _END_LIMIT_S
        while pids := self.processes():
            if time.monotonic() > end_s:
                raise VirtualDeviceError(f"the processes {pids} of {self.folder.name} do not end")
            if (self.folder / "cgroup.kill").exists():
                (self.folder / "cgroup.kill").write_text("1")
            else:  # before Linux 5.14
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def remove(self) -> None:
        """The group and those that the device made in it; its processes end first."""
        self.kill()
        # Where systemd's own hierarchy of version 1 is mounted too, systemd-nspawn repeats the groups there.
        for hierarchy in {self.folder.parent, *_hierarchies("cgroup")}:
            for folder, _, _ in os.walk(hierarchy / self.folder.name, topdown=False):
                Path(folder).rmdir()

    def init(self) -> int | None:
        """The process that is number 1 inside the device; None while there is none."""
        for pid in self.processes():
            with contextlib.suppress(OSError):
                if _numbers(pid)[1:] == [1]:
                    return pid
        return None


def _hierarchies(kind: str) -> list[Path]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(place) for _, place, each, *_ in mounts if each == kind]


def _numbers(pid: int) -> list[int]:
    """A process's numbers, from this machine inwards."""
    match = re.search(r"^NSpid:\s+(.*)$", Path(f"/proc/{pid}/status").read_text(), flags=re.MULTILINE)
    return [int(word) for word in match[1].split()] if match else []


def kill_matching(group: Group, pattern: str, number: int = signal.SIGKILL) -> int:
    """A signal to each process inside the device whose command line matches; how many there were."""
    found = 0
    for pid in group.processes():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            numbers = _numbers(pid)
            if len(numbers) > 1 and numbers[1] > 1 and re.search(pattern, command):
                os.kill(pid, number)
                found += 1
    return found


def memory_bytes(group: Group) -> int:
    """What the device's processes take of this machine's memory; pages shared by several count once."""
    total = 0
    for pid in group.processes():
        with contextlib.suppress(OSError):
            match = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), flags=re.MULTILINE)
            total += int(match[1]) * 1024 if match else 0
    return total


def start_time(pid: int) -> int | None:
    """When the process began, in ticks since boot: with its number, it is one process for ever. None: there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None
