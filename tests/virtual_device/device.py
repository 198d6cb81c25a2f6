"""One virtual TX2: made, booted, reached over SSH, and removed without a trace."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.virtual_device.disk import Disk
from tests.virtual_device.faults import Faults
from tests.virtual_device.network import Cable, free_network
from tests.virtual_device.personality import put_personality
from tests.virtual_device.places import MACHINES, VirtualDeviceError, locked, run
from tests.virtual_device.processes import Group, memory_bytes, start_time
from tests.virtual_device.recipe import root_file_system

__all__ = ["VirtualDevice", "all_devices", "down"]

_BOOT_LIMIT_S = 60.0
_NAME_MOST = 12  # "ve-" and a name make the name of an interface, of 15 characters at most
_USERS = ("root", "nvidia")

# In a mount namespace of its own: GROUP NAME COMMAND. systemd-nspawn keeps all mounts that it finds, out of sight, and
# what other devices have mounted could not be unmounted while it lives. With --keep-unit it ends with 133 where the
# device wants to be started again.
_SUPERVISE = """
echo $$ >"$0/cgroup.procs" || exit
while read -r _ place _; do
    case $place in
    */edgesynth/virtual_device/machines/"$1"/* | /run/netns/edgesynth-"$1") ;;
    */edgesynth/virtual_device/machines/*/* | /run/netns/edgesynth-*) umount --lazy "$place" ;;
    esac
done </proc/self/mounts
shift
while :; do
    "$@"
    [ $? -eq 133 ] || exit
done
"""


class VirtualDevice(Faults):
    """A machine of its own as far as the network, systemd, users and disk are concerned; the kernel is this one's.

    Users: root, and `nvidia` with password-less sudo unless made with sudo=False; one key opens both, made for this
    device. `folder` holds everything that there is of it. All methods raise VirtualDeviceError.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = MACHINES / name
        self.facts: dict[str, Any] = json.loads((self.folder / "machine.json").read_text())
        self.cable = Cable(name, self.facts["network"])
        self.disk = Disk(self.folder, Path(self.facts["lower"]))
        self.group = Group(name)

    @classmethod
    def create(
        cls, name: str, sudo: bool = True, disk_bytes: int = 2 << 30, owner: int | None = None, say=lambda text: None
    ) -> "VirtualDevice":
        """Make it and boot it; returns when SSH lets both users in. It is `down`ed with the process `owner`."""
        if len(name) > _NAME_MOST or not name.replace("-", "").isalnum():
            raise VirtualDeviceError(f"'{name}' is no name for a device: up to {_NAME_MOST} letters, digits and '-'")
        lower = root_file_system(say)
        with locked(MACHINES):
            if (MACHINES / name).exists() or Cable(name, "").is_laid:
                raise VirtualDeviceError(f"there is a device {name} already: take it down first")
            facts = {
                "network": free_network([device.facts["network"] for device in all_devices()]),
                "lower": str(lower),
                "owner": None if owner is None else [owner, start_time(owner)],
            }
            partial = MACHINES / f".{name}"  # a folder without its facts is never seen
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            (partial / "machine.json").write_text(json.dumps(facts))
            partial.rename(MACHINES / name)
            (MACHINES / "ssh_config").write_text(f'Include "{MACHINES}/*/ssh_config"\n')
        device = cls(name)
        try:
            device.cable.lay()
            device.disk.format(disk_bytes)
            device.disk.mount()
            put_personality(device.disk.root)
            device._let_in(sudo)
            device.boot()
            device.disk.synchronise()  # as if it had been up for a while
        except BaseException:
            device.down()
            raise
        return device

    @property
    def address(self) -> str:
        return self.cable.address

    @property
    def ssh_config(self) -> Path:
        """`ssh -F` this: it knows the device by its name, with the key and the device's own key."""
        return self.folder / "ssh_config"

    @property
    def memory_bytes(self) -> int:
        return memory_bytes(self.group)

    @property
    def is_owned(self) -> bool:
        """Whether the process that it goes with is still there."""
        owner = self.facts["owner"]
        return owner is not None and start_time(owner[0]) == owner[1] is not None

    @property
    def is_left_behind(self) -> bool:
        """Whether the process that it goes with has ended without taking it down."""
        return self.facts["owner"] is not None and not self.is_owned

    def boot(self) -> None:
        """Switch it on, with its cable mended, and wait until SSH lets both users in."""
        self.group.create()
        self.cable.mend()
        (self.folder / "faults").mkdir(exist_ok=True)
        command = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--settings=no", "--boot",
            f"--directory={self.disk.root}", f"--machine={self.name}", "--console=read-only", "--link-journal=no",
            "--resolv-conf=off", "--timezone=off", "--capability=CAP_NET_ADMIN",
            f"--bind-ro={self.folder}/faults:/etc/virtual-device/faults",
            f"--network-namespace-path=/run/netns/{self.cable.namespace}",
        ]  # fmt: skip
        with (self.folder / "console.log").open("ab") as console:
            subprocess.run(  # forked: nobody's child, it outlives this process
                [
                    "setsid",
                    "--fork",
                    "unshare",
                    "--mount",
                    "sh",
                    "-c",
                    _SUPERVISE,
                    self.group.folder,
                    self.name,
                    *command,
                ],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                check=True,
            )
        self.wait_for_ssh()

    def wait_for_ssh(self, limit_s: float = _BOOT_LIMIT_S) -> None:
        """Until both users get in."""
        end_s = time.monotonic() + limit_s
        for user in _USERS:
            while self.ssh("true", user=user, check=False).returncode:
                if time.monotonic() > end_s:
                    words = (self.folder / "console.log").read_text(errors="replace").splitlines()[-3:]
                    raise VirtualDeviceError(
                        f"{user} does not get in after {limit_s:.0f} s; console: {' / '.join(words)}"
                    )
                time.sleep(0.1)

    def ssh(
        self, command: str, user: str = "root", stdin: str | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a shell command on it, over SSH; with `check`, one that fails raises VirtualDeviceError."""
        done = subprocess.run(
            ["ssh", "-F", self.ssh_config, "-l", user, self.name, command],
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise VirtualDeviceError(
                f"{command}: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done

    def path(self, path: str) -> Path:
        """A file of the running device, from here: also one in its /run or /tmp."""
        init = self.group.init()
        if init is None:
            raise VirtualDeviceError(f"{self.name} is not running")
        return Path(f"/proc/{init}/root") / path.lstrip("/")

    def down(self) -> None:
        """Remove it: processes, mounts, interfaces, files."""
        self.group.remove()
        self._remove_traces()
        self.disk.unmount()
        self.cable.remove()
        shutil.rmtree(self.folder)

    def _remove_traces(self) -> None:
        """What systemd-nspawn leaves behind when it is killed."""
        with contextlib.suppress(FileNotFoundError):
            root = self.disk.root.stat()
            Path(f"/run/systemd/nspawn/locks/inode-{root.st_dev}:{root.st_ino}").unlink()
        shutil.rmtree(Path("/run/systemd/nspawn/propagate") / self.name, ignore_errors=True)

    def _let_in(self, sudo: bool) -> None:
        """Users' keys, the device's own key, and an SSH configuration that knows both."""
        root = self.disk.root
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgesynth", "-f", self.folder / "key")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", root / "etc/ssh/ssh_host_ed25519_key")
        host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"{self.name},{self.address} {host_key}")
        for home in (root / "root", root / "home" / "nvidia"):
            owner = home.stat()
            (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
            shutil.copy(self.folder / "key.pub", home / ".ssh" / "authorized_keys")
            for path in (home / ".ssh", home / ".ssh" / "authorized_keys"):
                os.chown(path, owner.st_uid, owner.st_gid)
        (root / "etc/hostname").write_text(self.name + "\n")
        (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        if sudo:
            (root / "etc/sudoers.d/nvidia").write_text("nvidia ALL=(ALL) NOPASSWD: ALL\n")
            (root / "etc/sudoers.d/nvidia").chmod(0o440)
        lines = [
            f"Host {self.name} {self.address}", f"HostName {self.address}", "User nvidia",
            f'IdentityFile "{self.folder}/key"', "IdentitiesOnly yes", "IdentityAgent none",
            f'UserKnownHostsFile "{self.folder}/known_hosts"', "GlobalKnownHostsFile none",
            "StrictHostKeyChecking yes", "BatchMode yes", "ConnectTimeout 5",
        ]  # fmt: skip
        self.ssh_config.write_text("\n    ".join(lines) + "\n")


def all_devices() -> list[VirtualDevice]:
    """By name; also those that a test run left behind."""
    return [VirtualDevice(path.parent.name) for path in sorted(MACHINES.glob("[!.]*/machine.json"))]


def down(names: list[str]) -> list[str]:
    """Remove these, or all but those of a test run that is still going; the names of what was removed."""
    removed = []
    for device in all_devices():
        if device.name in names or (not names and not device.is_owned):
            device.down()
            removed.append(device.name)
    return removed
