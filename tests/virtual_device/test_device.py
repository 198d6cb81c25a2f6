"""A virtual TX2 as the agent and an engineer find it."""

import contextlib
import json
import subprocess
import time

from edgesynth_agent import board
from edgesynth_agent.pack import pack
from edgesynth_agent.power.ina3221 import find_ina3221
from edgesynth_agent.power.readings import Reading
from edgesynth_agent.tegrastats import parse_line

# Of the agent, under the device's own Python: what it finds in the places where a Jetson has it.
LOOK = """
import json
from edgesynth_agent.clock import MonotonicClock
from edgesynth_agent.conditions import SysfsConditions
from edgesynth_agent.power import find_power_source
source = find_power_source(MonotonicClock())
source.prepare(); source.start(); import time; time.sleep(0.5); trace = source.stop()
print(json.dumps({"facts": source.facts(), "invalid": trace.invalid, "watts": [s.power_w for s in trace.samples],
                  "conditions": SysfsConditions(MonotonicClock(), "gpu").snapshot()}))
"""
LIMIT_S = 60.0


def watts_of(device, readings=40):
    """VDD_IN as the agent's own source reads it, the mean of some readings."""
    sensor = find_ina3221(str(device.path("/")))
    sensor.open()
    watts = []
    for _ in range(readings):
        watts += [sample.power_w for sample in sensor.samples([Reading(0.0, sensor.read())], None)]
        time.sleep(0.02)
    sensor.close()
    return sum(watts) / len(watts)


def wait_until(condition):
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_both_users_get_in_and_systemd_has_nothing_to_complain_of(virtual_device):
    assert virtual_device.ssh("id --user --name").stdout == "root\n"
    assert virtual_device.ssh("id --user --name; sudo id --user", user="nvidia").stdout == "nvidia\n0\n"
    assert virtual_device.ssh("systemctl is-system-running --wait").stdout == "running\n"
    assert 2 << 20 < virtual_device.memory_bytes < 1 << 30  # four in 4 GB
    command = ["ssh", "-F", virtual_device.ssh_config, virtual_device.name, "hostname"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == virtual_device.name + "\n"


def test_a_stranger_does_not_get_in(virtual_device, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    # The identity of the configuration would be tried too.
    config = virtual_device.ssh_config.read_text().replace(str(virtual_device.folder / "key"), str(tmp_path / "key"))
    (tmp_path / "config").write_text(config)
    command = ["ssh", "-F", tmp_path / "config", "-l", "root", virtual_device.name, "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def test_another_host_key_is_refused(virtual_device, tmp_path):
    (tmp_path / "known_hosts").write_text(
        f"{virtual_device.address} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBVwYyGN0K2lQAEDhrDvvaNcRJ6tFXkTLJ7N0YFKsjpz\n"
    )
    config = virtual_device.ssh_config.read_text()
    config = config.replace(str(virtual_device.folder / "known_hosts"), str(tmp_path / "known_hosts"))
    (tmp_path / "config").write_text(config)
    command = ["ssh", "-F", tmp_path / "config", virtual_device.address, "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Host key verification failed" in done.stderr


def test_it_is_a_tx2_and_says_that_it_is_none(virtual_device):
    root = str(virtual_device.path("/"))
    assert board.l4t_version(root) == ("32.7.1", None)
    assert board.jetpack_of("32.7.1") == ("4.6.1", None)
    assert "TX2" in board.first_text(f"{root}/sys/firmware/devicetree/base/model")
    [reason] = virtual_device.ssh("cat /etc/edgesynth-simulated", user="nvidia").stdout.splitlines()
    assert "virtual" in reason


def test_the_agent_finds_the_sensors_where_a_jetson_has_them(virtual_device, tmp_path):
    pack(str(tmp_path / "agent.pyz"))
    place = "/tmp/agent.pyz"
    virtual_device.path(place).write_bytes((tmp_path / "agent.pyz").read_bytes())
    said = virtual_device.ssh(f"PYTHONPATH={place} python3 -", user="nvidia", stdin=LOOK).stdout
    found = json.loads(said)
    assert (found["facts"]["sensor"], found["facts"]["averages"]) == ("ina3221", True)
    assert "VDD_IN" in found["facts"]["total_rule"]
    assert [rail["name"] for rail in found["facts"]["rails"]][3] == "VDD_IN"
    assert found["invalid"] is None
    assert all(2.5 < watts < 8.0 for watts in found["watts"])
    conditions = found["conditions"]
    assert conditions["power_mode"] == {"id": 3, "name": "MAXP_CORE_ARM"}
    assert conditions["clocks_mhz"]["17000000.gp10b"] == 114.75
    assert conditions["temperatures_c"]["GPU-therm"] == 35.0
    assert "PMIC-Die" not in conditions["temperatures_c"]


def test_tegrastats_prints_what_the_agent_reads(virtual_device):
    lines = virtual_device.ssh("timeout 2 tegrastats --interval 100 || true", user="nvidia").stdout.splitlines()
    assert len(lines) > 3
    for line in lines:
        record = parse_line(line, 0.0)
        assert record["warnings"] == []
        assert record["total_mw"] == record["rails"]["VDD_IN"]["mw"]
        assert 2500 < record["total_mw"] < 8000


def test_vdd_in_follows_the_load(virtual_device):
    wait_until(lambda: watts_of(virtual_device) < 3.4)
    # Many, so that whatever else this machine does still leaves them some of it.
    load = "systemd-run --quiet --unit=load sh -c 'for n in 1 2 3 4 5 6 7; do while :; do :; done & done; wait'"
    virtual_device.ssh(load)
    try:
        wait_until(lambda: watts_of(virtual_device) > 3.8)
    finally:
        virtual_device.ssh("systemctl stop load")
    wait_until(lambda: watts_of(virtual_device) < 3.4)


def test_power_modes_and_clocks_are_set_by_root_alone(virtual_device):
    root = str(virtual_device.path("/"))
    gpu = "17000000.gp10b"
    assert virtual_device.ssh("nvpmodel -m 0", user="nvidia", check=False).returncode
    assert virtual_device.ssh("jetson_clocks", user="nvidia", check=False).returncode
    assert board.clocks_mhz(root)[0][gpu] == 114.75
    try:
        virtual_device.ssh(
            "sudo nvpmodel -m 0 && sudo jetson_clocks --store /run/before && sudo jetson_clocks", "nvidia"
        )
        wait_until(lambda: board.clocks_mhz(root)[0][gpu] == 1300.5)
        assert "MAXN" in virtual_device.ssh("nvpmodel -q", user="nvidia").stdout
        virtual_device.ssh("jetson_clocks --restore /run/before")
        wait_until(lambda: board.clocks_mhz(root)[0][gpu] == 114.75)
        assert virtual_device.ssh("nvpmodel -m 7", check=False).returncode
    finally:
        virtual_device.ssh("nvpmodel -m 3")


def test_without_sudo_the_user_has_no_rights_of_root(make_virtual_device):
    device = make_virtual_device(sudo=False)
    assert device.ssh("sudo --non-interactive true", user="nvidia", check=False).returncode == 1
    assert device.ssh("systemctl --user is-system-running --wait", user="nvidia").stdout == "running\n"
    device.down()


def test_two_have_addresses_and_keys_of_their_own(virtual_device, make_virtual_device):
    other = make_virtual_device()
    assert other.address != virtual_device.address
    keys = [(each.folder / "key.pub").read_text() for each in (virtual_device, other)]
    hosts = [(each.folder / "known_hosts").read_text().split()[2] for each in (virtual_device, other)]
    assert len({*keys, *hosts}) == 4
    assert virtual_device.ssh("hostname").stdout != other.ssh("hostname").stdout
    other.ssh("touch /var/only-here")
    assert virtual_device.ssh("ls /var/only-here", check=False).returncode
    with contextlib.suppress(FileNotFoundError):
        other.down()
