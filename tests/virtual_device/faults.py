"""What can happen to a board."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.virtual_device.places import VirtualDeviceError
from tests.virtual_device.processes import kill_matching

if TYPE_CHECKING:
    from tests.virtual_device.disk import Disk
    from tests.virtual_device.network import Cable
    from tests.virtual_device.processes import Group

__all__ = ["Faults"]

_LOOK_S = 0.002


class Faults:
    """The fault rig of a virtual device. What has an end is mended by the method of that name, or by switching off."""

    folder: Path
    cable: "Cable"
    disk: "Disk"
    group: "Group"

    def cut_cable(self) -> None:
        self.cable.cut()

    def mend_cable(self) -> None:
        self.cable.mend()

    def kill_sshd(self) -> int:
        """The listener and every session; systemd starts the listener again."""
        return self.kill(r"^(/usr/sbin/)?sshd\b")

    def kill(self, pattern: str) -> int:
        """SIGKILL to the processes whose command line matches; how many there were. Never number 1."""
        return kill_matching(self.group, pattern)

    def fill_disk(self, leave_bytes: int = 0) -> None:
        self.disk.fill(leave_bytes)

    def free_disk(self) -> None:
        self.disk.free()

    def reboot(self) -> None:
        """In good order, by systemd; returns when SSH lets both users in again."""
        init = self.group.init()
        self.enter("systemctl", "reboot")
        end_s = time.monotonic() + 60.0
        while self.group.init() in (init, None):
            if time.monotonic() > end_s:
                raise VirtualDeviceError("it does not reboot")
            time.sleep(0.05)
        self.wait_for_ssh()

    def power_cut(self) -> None:
        """Every process ends at once, and what no one synchronised to the disk is lost. `boot` switches it on again.

        Nobody on the network is told: connections to it hang.
        """
        self.cable.cut()
        self.disk.lose_power()
        self.group.remove()
        self.disk.unmount()
        self.disk.renew()
        self.disk.mount()

    def make_engine_build_fail(self, on: bool = True) -> None:
        """From now on ONNX Runtime loads no network."""
        self._switch("engine-build", on)

    def make_parity_fail(self, on: bool = True) -> None:
        """From now on networks give wrong answers."""
        self._switch("parity", on)

    def corrupt(self, pattern: str, at: int = 0) -> Path | None:
        """Turn over the bits of one byte of the first file that matches (a glob); None when there is none."""
        for path in sorted(self.path("/").glob(pattern.lstrip("/"))):
            with contextlib.suppress(OSError), path.open("r+b") as file:
                file.seek(at)
                byte = file.read(1)
                if byte:
                    file.seek(at)
                    file.write(bytes([byte[0] ^ 0xFF]))
                    return path
        return None

    @contextlib.contextmanager
    def corrupting(self, pattern: str, at: int = 0) -> Iterator[list[Path]]:
        """While this lasts, `corrupt` the first file that comes to match, once; the list then has it."""
        done: list[Path] = []
        over = threading.Event()

        def watch() -> None:
            while not done and not over.wait(_LOOK_S):
                done.extend(filter(None, [self.corrupt(pattern, at)]))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield done
        finally:
            over.set()
            thread.join()

    def enter(self, *command: str) -> str:
        """Run a command as root inside, past the network and SSH; what it prints."""
        init = str(self.group.init())
        done = subprocess.run(
            ["nsenter", "--target", init, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--",
             "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise VirtualDeviceError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def _switch(self, name: str, on: bool) -> None:
        switch = self.folder / "faults" / name
        if on:
            switch.touch()
        else:
            switch.unlink(missing_ok=True)
