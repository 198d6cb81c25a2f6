"""The cable of a virtual device: a veth pair from this machine into a network namespace of the device's own.

The namespace outlives the device's boots, so a reboot changes nothing about the address.
"""

import ipaddress
import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.virtual_device.places import VirtualDeviceError, run

__all__ = ["Cable", "free_network"]

# Set apart for tests of network devices (RFC 2544, RFC 6890): no real network has it.
_RANGE = ipaddress.ip_network("198.18.0.0/15")


class Cable(NamedTuple):
    """`network` has four addresses: its own, this machine's, the device's, and the broadcast."""

    device: str
    network: str

    @property
    def namespace(self) -> str:
        return f"edgesynth-{self.device}"

    @property
    def near_end(self) -> str:
        return f"ve-{self.device}"

    @property
    def address(self) -> str:
        """The device's."""
        return str(ipaddress.ip_network(self.network)[2])

    @property
    def is_laid(self) -> bool:
        return (Path("/run/netns") / self.namespace).exists()

    def lay(self) -> None:
        """Both ends with their addresses; the far one is down until `mend`."""
        network = ipaddress.ip_network(self.network)
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self.near_end, "type", "veth", "peer", "name", "host0", "netns", self.namespace)
        run("ip", "address", "add", f"{network[1]}/{network.prefixlen}", "dev", self.near_end)
        run("ip", "-n", self.namespace, "address", "add", f"{network[2]}/{network.prefixlen}", "dev", "host0")
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        run("ip", "link", "set", self.near_end, "up")

    def cut(self) -> None:
        """No packet passes until `mend`; connections stay open on both sides.

        The far end goes down: were it this one, its route would be gone, and packets would take the default route.
        """
        run("ip", "-n", self.namespace, "link", "set", "host0", "down")

    def mend(self) -> None:
        run("ip", "-n", self.namespace, "link", "set", "host0", "up")

    def remove(self) -> None:
        """Whatever there is of it."""
        for command in (["ip", "link", "delete", self.near_end], ["ip", "netns", "delete", self.namespace]):
            subprocess.run(command, capture_output=True, check=False)


def free_network(taken: list[str]) -> str:
    """A network of four addresses that no interface, route or other device (`taken`) of this machine has."""
    used = [ipaddress.ip_network(network) for network in taken]
    for interface in json.loads(run("ip", "-json", "-4", "address")):
        used += [ipaddress.ip_network(each["local"]) for each in interface["addr_info"]]
    routes = [route["dst"] for route in json.loads(run("ip", "-json", "-4", "route"))]
    used += [ipaddress.ip_network(route) for route in routes if route != "default"]
    for network in _RANGE.subnets(new_prefix=30):
        if not any(network.overlaps(each) for each in used):
            return str(network)
    raise VirtualDeviceError(f"no network is free in {_RANGE}: take some devices down")
