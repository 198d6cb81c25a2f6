"""Deploy and roll back, over and over: nothing grows. EDGESYNTH_DEPLOY_CYCLES says how often."""

import os
from pathlib import Path

from edgesynth_exporters.targets import find_target

from edgesynth.deploy.deploy import Deployment
from edgesynth.deploy.manage import rollback
from edgesynth.deploy.package import open_package
from edgesynth.deploy.request import Request
from edgesynth.devices.ssh import SshTransport
from tests.deploy.conftest import save_network
from tests.virtual_device.fixtures import make_virtual_device

__all__ = ["make_virtual_device"]

CYCLES = int(os.environ.get("EDGESYNTH_DEPLOY_CYCLES", "6"))
KEPT = 3
SETTLED = 4
"""After so many, as many releases lie there as are kept."""


class Cycles:
    """A board, and what can be counted on it and on this machine."""

    def __init__(self, device, folder: Path) -> None:
        self.device, self.folder = device, folder

    def transport(self) -> SshTransport:
        return SshTransport(f"nvidia@{self.device.name}", self.device.ssh_config)

    def one(self, number: int) -> None:
        model = save_network(self.folder / "cam.onnx", 0.001 * (number + 1))
        package = open_package(str(model), find_target("tx2"), None)
        request = Request(package=package, name="cam", holder="ann@lab", keep=KEPT, tier="none", allow_simulated=True)
        record = Deployment(request, self.transport()).run()
        assert record.outcome == "deployed"
        if number:
            assert rollback(self.transport(), "cam", "ann@lab") == ("cam", record.former)

    def counts(self) -> dict[str, int]:
        def lines(command: str) -> int:
            return len(self.device.ssh(command).stdout.splitlines())

        return {
            "files": lines("find /var/lib/edgesynth /opt/edgesynth /etc /home /root /tmp /usr -xdev"),
            "processes": lines("ps -eo pid --no-headers"),
            "sockets": lines("ss -xlH; find /run -type s"),
            "sessions": lines("ls /run/edgesynth* -d"),
            "folders here": len(list(Path("/tmp").glob("es-*"))),
        }


def test_nothing_grows(make_virtual_device, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cycles = Cycles(make_virtual_device(), tmp_path)
    for number in range(SETTLED):
        cycles.one(number)
    before = cycles.counts()
    for number in range(SETTLED, SETTLED + CYCLES):
        cycles.one(number)
    after = cycles.counts()
    releases = cycles.device.ssh("ls /var/lib/edgesynth/models/cam/releases").stdout.split()
    assert len(releases) <= KEPT + 1
    # A process more or less of the system's own is none of ours.
    grown = {name: after[name] - before[name] for name in after if after[name] - before[name] > 2}
    assert grown == {}, (before, after)
    print(f"{CYCLES} cycles: before {before}, after {after}, releases {len(releases)}")  # noqa: T201
