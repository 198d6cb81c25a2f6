"""The disk of a virtual device: what it writes, in an image of bounded size over the root file system shared by all."""

import ctypes
import fcntl
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from tests.virtual_device.places import VirtualDeviceError, run

__all__ = ["Disk"]

# include/uapi/linux/ext4.h: EXT4_IOC_SHUTDOWN, and its flag to write nothing any more, not even the journal.
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_IN_USE_LIMIT_S = 10.0


class Disk(NamedTuple):
    """`folder` is the device's own, `lower` the shared root file system."""

    folder: Path
    lower: Path

    @property
    def root(self) -> Path:
        """The device's root directory, while it is mounted."""
        return self.folder / "root"

    @property
    def _layer(self) -> Path:
        return self.folder / "disk"

    @property
    def _ballast(self) -> Path:
        return self._layer / "ballast"

    @property
    def _image(self) -> Path:
        return self.folder / "disk.img"

    def format(self, size_bytes: int) -> None:
        """A new image; it takes no more room here than is written to it."""
        with self._image.open("wb") as file:
            file.truncate(size_bytes)
        # No blocks are kept back for root: full is full for everyone.
        run("mkfs.ext4", "-q", "-m", "0", self._image)

    def mount(self) -> None:
        for folder in (self._layer, self.root):
            folder.mkdir(exist_ok=True)
        run("mount", "-o", "loop,noatime", self._image, self._layer)
        for name in ("upper", "work"):
            (self._layer / name).mkdir(exist_ok=True)
        layers = f"lowerdir={self.lower},upperdir={self._layer / 'upper'},workdir={self._layer / 'work'}"
        run("mount", "-t", "overlay", "-o", layers, "overlay", self.root)

    def unmount(self) -> None:
        """What is mounted of it. Raises VirtualDeviceError when something goes on using it."""
        end_s = time.monotonic() + _IN_USE_LIMIT_S
        while mounted := [folder for folder in (self.root, self._layer) if os.path.ismount(folder)]:
            done = subprocess.run(["umount", mounted[0]], capture_output=True, text=True, check=False)
            if done.returncode:  # the mounts of processes that were killed take their time
                if time.monotonic() > end_s:
                    raise VirtualDeviceError(done.stderr.strip())
                time.sleep(0.02)

    def renew(self) -> None:
        """Unmounted, put a copy in the place of the image.

        Another mount namespace may still have the old one mounted for a moment, and mounting it again would only give
        back the file system as it was left, without power.
        """
        copy = self.folder / "disk.new"
        run("cp", "--sparse=always", "--reflink=auto", self._image, copy)
        copy.replace(self._image)

    def synchronise(self) -> None:
        """All that the device has written so far is in the image."""
        run("sync", "--file-system", self._layer)

    def lose_power(self) -> None:
        """From now on nothing reaches the image: what was not yet synchronised is lost at the next `mount`."""
        descriptor = os.open(self._layer, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, ctypes.c_uint32(_NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def fill(self, leave_bytes: int) -> None:
        """Leave so many bytes free for the device. What fills it is not seen by the device."""
        self.free()
        space = os.statvfs(self._layer)
        size = space.f_bavail * space.f_frsize - leave_bytes
        if size <= 0:
            raise VirtualDeviceError(f"the disk has less than {leave_bytes} bytes free already")
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
            os.fsync(file.fileno())

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)
