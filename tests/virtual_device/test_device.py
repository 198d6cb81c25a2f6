"""The virtual device itself: what the tests of the deploy rely on."""

import subprocess
import time

import pytest
from edgesynth_agent.power.ina3221 import find_ina3221
from edgesynth_agent.power.readings import Reading
from edgesynth_agent.tegrastats import parse_line

from tests.virtual_device.device import VirtualDevice, all_devices, down

BUSY = "timeout 20 sh -c 'while :; do :; done'"


def test_both_users_get_in_and_systemd_has_nothing_to_complain_of(virtual_device):
    assert virtual_device.ssh("id --user --name").stdout == "root\n"
    assert virtual_device.ssh("id --user --name; sudo id --user", user="nvidia").stdout == "nvidia\n0\n"
    assert virtual_device.ssh("systemctl is-system-running --wait").stdout == "running\n"
    done = subprocess.run(
        ["ssh", "-F", virtual_device.ssh_config, virtual_device.name, "hostname"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == virtual_device.name + "\n"


def test_it_is_a_tx2_and_says_that_it_is_none(virtual_device):
    show = "cat /etc/nv_tegra_release /sys/firmware/devicetree/base/model; nvpmodel -q; cat /etc/edgesynth/simulated"
    said = virtual_device.ssh(show, user="nvidia").stdout
    assert said.startswith("# R32 (release), REVISION: 7.1,")
    assert "NVIDIA Jetson TX2" in said
    assert "NV Power Mode: MAXP_CORE_ARM\n3\n" in said
    assert "virtual" in said.splitlines()[-1]
