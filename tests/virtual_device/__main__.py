"""`python -m tests.virtual_device up|down|ls|clean`: virtual TX2s for people without a board. Needs root on Linux."""

import argparse
import concurrent.futures
import shutil
import sys
import time
from pathlib import Path

from tests.virtual_device.device import VirtualDevice, all_devices, down
from tests.virtual_device.places import MACHINES, ROOTS, VirtualDeviceError, locked, what_is_missing
from tests.virtual_device.recipe import root_file_system


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def free_names(prefix: str, count: int) -> list[str]:
    names = (f"{prefix}-{number}" for number in range(10_000))
    taken = {device.name for device in all_devices()}
    return [name for name, _ in zip((name for name in names if name not in taken), range(count), strict=False)]


def up(prefix: str, count: int, sudo: bool, disk_bytes: int) -> None:
    root_file_system(say)
    names = free_names(prefix, count)

    def make(name: str) -> tuple[VirtualDevice, float]:
        start_s = time.monotonic()
        return VirtualDevice.create(name, sudo, disk_bytes), time.monotonic() - start_s

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        made = list(pool.map(make, names))
    for device, took_s in made:
        memory_mib = device.memory_bytes / 2**20
        sys.stdout.write(f"{device.name}  {device.address}  SSH after {took_s:.1f} s  {memory_mib:.0f} MiB\n")
    sys.stdout.write(f"{sum(device.memory_bytes for device, _ in made) / 2**20:.0f} MiB together\n")
    sys.stdout.write(f"ssh -F {MACHINES}/ssh_config {names[0]}\n")


def list_devices() -> None:
    for device in all_devices():
        state = "running" if device.group.init() is not None else "off"
        owner = f"  of process {device.facts['owner'][0]}" if device.is_owned else ""
        sys.stdout.write(f"{device.name}  {device.address}  {state}{owner}\n")


def clean() -> None:
    """Root file systems that neither a device nor the present recipe needs."""
    with locked(MACHINES):
        needed = {Path(device.facts["lower"]) for device in all_devices()} | {root_file_system(say)}
        for root in sorted(path for path in ROOTS.iterdir() if path.is_dir() and path not in needed):
            shutil.rmtree(root)
            sys.stdout.write(f"removed {root}\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.virtual_device", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("up", help="make some and boot them")
    command.add_argument("--count", type=int, default=1, choices=range(1, 65), metavar="N")
    command.add_argument("--name", default="vtx2", help="they are called NAME-0, NAME-1 ...")
    command.add_argument("--no-sudo", action="store_true", help="the user nvidia has no rights of root")
    command.add_argument("--disk-gib", type=int, default=2, metavar="N")
    command = commands.add_parser("down", help="remove them, and what a test run left behind")
    command.add_argument("names", nargs="*", metavar="NAME", help="only these")
    commands.add_parser("ls", help="which there are")
    commands.add_parser("clean", help="remove root file systems of earlier recipes from the cache")
    arguments = parser.parse_args()
    if missing := what_is_missing():
        say(f"virtual devices need {missing}")
        return 3
    try:
        if arguments.command == "up":
            up(arguments.name, arguments.count, not arguments.no_sudo, arguments.disk_gib << 30)
        elif arguments.command == "down":
            sys.stdout.write("".join(f"removed {name}\n" for name in down(arguments.names)))
        elif arguments.command == "clean":
            clean()
        else:
            list_devices()
    except VirtualDeviceError as error:
        say(f"error: {error}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
