"""Deploys over a real sshd to a machine with a real systemd (tests/virtual_device)."""

import json
import subprocess
import sys
import threading
import time

import pytest
from edgesynth_exporters.targets import find_target

from edgesynth.cli.main import run
from edgesynth.deploy.board import BoardSession
from edgesynth.deploy.deploy import Deployment
from edgesynth.deploy.package import open_package
from edgesynth.deploy.record import DeployRecord
from edgesynth.deploy.request import DeployFailedError, Request
from edgesynth.devices.ssh import SshTransport
from tests.deploy.conftest import save_network
from tests.virtual_device.fixtures import make_virtual_device, virtual_device

__all__ = ["make_virtual_device", "virtual_device"]

CURRENT = "/var/lib/edgesynth/models/cam/current"
LIMIT_S = 60.0
# What changes by itself, or by logging in.
LIVING = ("/proc", "/sys", "/dev", "/run", "/var/log", "/var/lib/systemd", "/var/cache", "/var/tmp")


def wait_until(condition):
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.1)


class Deployer:
    """`edgesynth deploy` against one device, by its command line."""

    def __init__(self, device, folder, capsys):
        self.device = device
        self.folder = folder
        self.capsys = capsys

    def run(self, *arguments, user="root"):
        """Exit code, stdout, stderr."""
        self.capsys.readouterr()
        code = run(["deploy", *map(str, arguments), "--host", f"{user}@{self.device.name}"])
        return code, *self.capsys.readouterr()

    def deploy(self, weight, *options, name="cam", user="root"):
        model = save_network(self.folder / f"{name}.onnx", weight)
        options = ("--target", "tx2", "--name", name, "--allow-simulated", *options)
        return self.run(model, *options, user=user)

    def deployed(self, weight, *options, **about):
        """The record of a deploy that is good; says how long it took."""
        code, out, err = self.deploy(weight, "--json", *options, **about)
        assert code == 0, err
        record = DeployRecord.model_validate_json(out)
        with self.capsys.disabled():
            sys.stdout.write(f"\n[{record.outcome} in {record.seconds:.1f} s] ")
        return record

    def names(self):
        """Everything in the file system, by name and type."""
        pruned = " -o ".join(f"-path {path}" for path in LIVING)
        said = self.device.ssh(
            f"find / -xdev \\( {pruned} \\) -prune -o -printf '%y %p\\n'; ls -d /run/edgesynth* 2>/dev/null; true"
        )
        return set(said.stdout.splitlines()), self.device.ssh("cat /etc/passwd /etc/group /etc/shadow").stdout


@pytest.fixture
def deployer(virtual_device, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("EDGESYNTH_SSH_CONFIG", str(virtual_device.ssh_config))
    made = Deployer(virtual_device, tmp_path, capsys)
    yield made
    run(["deploy", "--uninstall", "--host", virtual_device.name])


@pytest.mark.parametrize("user", ["root", "nvidia"])
def test_from_a_bare_board_to_a_measured_network_and_back(deployer, user):
    device = deployer.device
    device.ssh("sudo true", user="nvidia")  # at its first use sudo leaves a note of its own in the home
    before = deployer.names()
    first = deployer.deployed(0.25, user=user)
    assert first.measurement.source == "simulated"
    assert first.measurement.target == "tx2"
    assert device.ssh("systemctl is-active edgesynth-agent").stdout == "active\n"
    # Applications read it, and nobody but root writes it.
    manifest = json.loads(device.ssh(f"cat {CURRENT}/manifest.json", user="nvidia").stdout)
    assert manifest["id"] == first.release
    assert device.ssh(f"find {CURRENT}/ ! -user root -o -perm /022 ! -type l").stdout == ""

    assert deployer.deployed(0.5, name="door", user=user).outcome == "deployed"
    assert deployer.deployed(0.25, user=user).outcome == "unchanged"
    second = deployer.deployed(0.75, "--measure", "none", user=user)
    assert second.former == first.release
    code, out, _ = deployer.run("--rollback", "--name", "cam", user=user)
    assert (code, out) == (0, f"cam on {user}@{device.name} is release {first.release} again\n")

    assert deployer.run("--uninstall", user=user)[0] == 0
    after = deployer.names()
    assert (after[0] - before[0], before[0] - after[0]) == (set(), set())
    assert after[1] == before[1]
    assert device.ssh("systemctl list-units --all --plain | grep edgesynth", check=False).stdout == ""


def test_a_plan_changes_nothing(deployer):
    before = deployer.names()
    code, out, _ = deployer.deploy(0.5, "--dry-run", user="nvidia")
    assert code == 0
    assert "would make cam" in out
    assert deployer.names() == before


def test_into_the_home_of_a_user(deployer):
    record = deployer.deployed(0.5, "--user", "--measure", "none", user="nvidia")
    assert record.folder == "/home/nvidia/.local/share/edgesynth/models/cam/current"
    assert deployer.device.ssh("ls /opt/edgesynth /var/lib/edgesynth", check=False).stdout == ""
    assert deployer.run("--uninstall", "--user", user="nvidia")[0] == 0
    assert deployer.device.ssh("find /home/nvidia -name '*edgesynth*'").stdout == ""


def test_two_at_once(deployer):
    """The second is told who is first, in one line; the first does not notice."""
    deployer.deployed(0.5, "--measure", "none")
    reached, go_on = threading.Event(), threading.Event()
    results = []

    def hold():
        with SshTransport(f"root@{deployer.device.name}") as transport:
            words = ["python3", "/opt/edgesynth/agent/current/edgesynth-agent.pyz"]
            with BoardSession(transport, words, ["--holder", "bob@desk"]) as session:
                reached.set()
                go_on.wait(60)
                results.append(session.ask("status")["networks"][0]["name"])

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert reached.wait(60)
        code, out, err = deployer.deploy(0.75, "--measure", "none")
        assert (code, out) == (3, "")
        assert "bob@desk has been deploying for" in err.splitlines()[-1]
    finally:
        go_on.set()
        thread.join()
    assert results == ["cam"]


def test_a_power_cut_between_two_releases(deployer):
    device = deployer.device
    old = deployer.deployed(0.25, "--measure", "none").release

    def observer(state, when):
        if (state, when) == ("activate", "after"):
            device.power_cut()

    package = open_package(str(save_network(deployer.folder / "cam.onnx", 0.75)), find_target("tx2"), None)
    request = Request(package=package, name="cam", holder="ann@lab", tier="none", allow_simulated=True)
    try:
        with pytest.raises(DeployFailedError):
            Deployment(request, SshTransport(f"root@{device.name}"), observer=observer).run()
    finally:
        device.boot()
    code, out, err = deployer.run("--status", "--json")
    assert code == 0, err
    (network,) = json.loads(out)["networks"]
    assert network["problems"] == []
    assert old in (network["current"], network["pending"]["from"])
    assert deployer.deployed(0.75, "--measure", "none").outcome == "deployed"


def test_a_cable_that_is_cut(deployer):
    """The connection hangs without a word; both sides find out, and the next deploy waits for what the first held."""
    device = deployer.device
    old = deployer.deployed(0.25, "--measure", "none").release

    def observer(state, when):
        if (state, when) == ("activate", "after"):
            device.cut_cable()

    package = open_package(str(save_network(deployer.folder / "cam.onnx", 0.75)), find_target("tx2"), None)
    request = Request(package=package, name="cam", holder="ann@lab", allow_simulated=True)
    try:
        with pytest.raises(DeployFailedError, match="the connection broke"):
            Deployment(request, SshTransport(f"nvidia@{device.name}"), observer=observer).run()
    finally:
        device.mend_cable()
    device.wait_for_ssh()  # a neighbour that did not answer counts as unreachable for a second more
    assert deployer.deployed(0.75, "--measure", "none", user="nvidia").former == old


def test_without_the_right_to_become_root(make_virtual_device, tmp_path, capsys, monkeypatch):
    device = make_virtual_device(sudo=False)
    monkeypatch.setenv("EDGESYNTH_SSH_CONFIG", str(device.ssh_config))
    code, out, err = Deployer(device, tmp_path, capsys).deploy(0.5, user="nvidia")
    assert (code, out) == (2, "")
    assert "deploying for the system needs root, and sudo asks for a password" in err.splitlines()[-1]
    assert "--user" in err


def test_bench_sets_a_power_mode_and_puts_it_back_even_when_it_is_killed(deployer):
    device = deployer.device
    deployer.deployed(0.5, "--measure", "none")
    device.ssh("usermod --append --groups edgesynth nvidia && jetson_clocks")
    model = save_network(deployer.folder / "net.onnx")
    command = ["bench", str(model), "--target", f"tx2@ssh://nvidia@{device.name}", "--power-mode", "0", "--json"]

    def now():
        return device.ssh("nvpmodel -q | tail -n 1; jetson_clocks --show").stdout

    try:
        before = now()
        assert before == "3\nclocks: held at the maximum\n"
        deployer.capsys.readouterr()
        assert run(command) == 0
        conditions = json.loads(deployer.capsys.readouterr().out)["conditions"]
        assert conditions["after"]["power_mode"] == {"id": 0, "name": "MAXN"}
        assert now() == before

        device.ssh("cd /usr/local/lib/edgesynth && mv edgesynth-power away")
        assert run(command) == 3
        err = deployer.capsys.readouterr().err
        assert "setting it failed (there is no /usr/local/lib/edgesynth/edgesynth-power)" in err
        assert now() == before
        device.ssh("cd /usr/local/lib/edgesynth && mv away edgesynth-power")

        with subprocess.Popen([sys.executable, "-m", "edgesynth", *command, "--tier", "reported"]) as bench:
            wait_until(lambda: now().startswith("0"))
            bench.kill()
        wait_until(lambda: now() == before)
    finally:
        # Started anew, the agent has forgotten the lease of the one that was killed.
        device.ssh("systemctl restart edgesynth-agent; nvpmodel -m 3", check=False)
