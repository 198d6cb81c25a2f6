"""What a virtual device leaves behind: nothing; and the parts that need no device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.virtual_device import places
from tests.virtual_device.device import VirtualDevice, all_devices, down
from tests.virtual_device.network import free_network
from tests.virtual_device.personality import power_model
from tests.virtual_device.places import VirtualDeviceError, what_is_missing


def traces_of(name):
    """Every line of this machine's tables, every process, and every file that tells of the device."""
    commands = (
        ["mount"],
        ["ip", "-brief", "address"],
        ["ip", "netns", "list"],
        ["losetup", "--all"],
        ["ps", "-eo", "args"],
    )
    lines = [line for command in commands for line in run(*command).splitlines()]
    folders = (places.MACHINES, Path("/sys/fs/cgroup"), Path("/run/systemd/nspawn"))
    walks = [walk for folder in folders for walk in os.walk(folder)]
    files = [f"{folder}/{file}" for folder, inner, names in walks for file in inner + names]
    return [line for line in lines + files if name in line]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def locks():
    return {path.name for path in Path("/run/systemd/nspawn/locks").glob("*")}


def test_down_leaves_nothing(make_virtual_device):
    before = locks()
    device = make_virtual_device(disk_bytes=1 << 28)
    device.ssh("systemd-run --quiet sleep 600")
    device.fill_disk(leave_bytes=1 << 24)
    assert len(traces_of(device.name)) > 10
    assert down([device.name]) == [device.name]
    assert traces_of(device.name) == []
    assert locks() <= before


def test_down_after_a_power_cut_leaves_nothing(make_virtual_device):
    device = make_virtual_device(disk_bytes=1 << 28)
    device.power_cut()
    device.down()
    assert traces_of(device.name) == []


def test_what_a_dead_test_run_left_is_found(make_virtual_device):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    device = make_virtual_device(disk_bytes=1 << 28)
    assert device.is_owned
    facts = {**device.facts, "owner": [child.pid, 1]}
    (device.folder / "machine.json").write_text(json.dumps(facts))
    [found] = [each for each in all_devices() if each.name == device.name]
    assert found.is_left_behind
    found.down()
    assert traces_of(device.name) == []


def test_a_device_that_cannot_be_made_leaves_nothing(make_virtual_device, monkeypatch):
    made = make_virtual_device(disk_bytes=1 << 28)
    with pytest.raises(VirtualDeviceError, match="already"):
        VirtualDevice.create(made.name)
    made.down()
    name = f"x{os.getpid()}"
    monkeypatch.setattr(VirtualDevice, "boot", lambda self: self.path("/"))
    with pytest.raises(VirtualDeviceError, match="is not running"):
        VirtualDevice.create(name, disk_bytes=1 << 28)
    assert traces_of(name) == []


@pytest.mark.parametrize("name", ["", "much-too-long-a-name", "a/b", "a b", ".."])
def test_names_that_are_none(name):
    with pytest.raises(VirtualDeviceError, match="no name for a device"):
        VirtualDevice.create(name)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(places.shutil, "which", lambda tool: None)
    if os.geteuid() == 0:
        assert "systemd-container" in what_is_missing()
    monkeypatch.setattr(places.os, "geteuid", lambda: 1000)
    assert what_is_missing() == "root on Linux"


def test_networks_do_not_collide(virtual_device):
    networks = []
    for _ in range(3):
        networks.append(free_network(networks))
    assert len({*networks, virtual_device.facts["network"]}) == 4


@given(st.floats(-1.0, 10.0), st.floats(-1.0, 10.0))
def test_more_load_takes_more_power(one, other):
    for rail in power_model.VOLTS_MV:
        low, high = (power_model.milliwatts(rail, busy) for busy in sorted([one, other]))
        assert low <= high
        assert (
            abs(
                power_model.milliamperes(rail, one, 0.0) * power_model.VOLTS_MV[rail] / 1000
                - power_model.milliwatts(rail, one)
            )
            < 20
        )


def test_the_real_lines_are_met():
    assert [power_model.milliwatts("VDD_IN", busy) for busy in (0, 1, 6, 7)] == [3104, 5201, 7358, 7358]
    assert power_model.milliwatts("VDD_IN", 3.5) == pytest.approx((5201 + 7358) / 2)
