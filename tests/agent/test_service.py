"""The agent as a systemd service: the units, and the helper that sets the power of a board."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from edgesynth_agent.cli import main

from tests.needs import need

FOLDER = Path(__file__).parents[2] / "jetson" / "edgesynth_agent" / "units"
UNIT = FOLDER / "edgesynth-agent.service"
ADDITIONS = sorted((FOLDER / "edgesynth-agent.service.d").glob("*.conf"))
GREATEST_EXPOSURE = 2.5


def settings(path):
    """Every value of each key of a unit, in order."""
    found = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def run(*command, **options):
    return subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=60,
        **options,
    )


@pytest.fixture(scope="module")
def systemd_version():
    need(shutil.which("systemd-analyze"), "systemd-analyze, of the package systemd")
    version = int(re.match(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)[1])
    need(version >= 250, f"systemd 250 or later, which analyzes units offline (this one is {version})")
    return version


@pytest.fixture
def installed(tmp_path, systemd_version):
    """The units as install.sh would lay them for this systemd, with programs that exist."""
    for unit in FOLDER.glob("*.service"):
        text = re.sub(r"(?m)^(ExecStart=)/usr/local/\S+", rf"\1{sys.executable}", unit.read_text())
        (tmp_path / unit.name.replace("@", "@MAXN")).write_text(text)
    folder = tmp_path / "edgesynth-agent.service.d"
    folder.mkdir()
    for addition in ADDITIONS:
        if int(addition.stem) <= systemd_version:
            shutil.copy(addition, folder)
    return tmp_path


class TestUnits:
    @pytest.mark.parametrize("name", ["edgesynth-agent.service", "edgesynth-power@MAXN.service"])
    def test_systemd_has_no_complaint(self, installed, name):
        done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", installed / name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_a_mistake_would_be_seen(self, installed):
        unit = installed / "edgesynth-agent.service"
        unit.write_text(unit.read_text() + "[Service]\nProtectSystemm=strict\n")
        assert "ProtectSystemm" in run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit).stderr

    @pytest.mark.parametrize("additions", [True, False], ids=["all that this systemd knows", "what systemd 237 knows"])
    def test_exposure(self, installed, additions, capsys):
        if not additions:
            shutil.rmtree(installed / "edgesynth-agent.service.d")
        said = run("systemd-analyze", "security", "--offline=true", installed / "edgesynth-agent.service").stdout
        exposure = float(re.search(r"Overall exposure level .*: ([\d.]+)", said)[1])
        with capsys.disabled():
            sys.stdout.write(f"\n[exposure {exposure}, at most {GREATEST_EXPOSURE}] ")
        assert exposure <= GREATEST_EXPOSURE

    def test_the_agent_takes_the_command(self):
        (command,) = settings(UNIT)["ExecStart"]
        program, *arguments = command.split()
        assert program == "/usr/local/bin/edgesynth-agent"
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--help"])
        assert ended.value.code == 0

    def test_the_socket_and_the_store_are_in_the_folders_that_systemd_makes(self):
        unit = settings(UNIT)
        arguments = unit["ExecStart"][0].split()
        assert arguments[arguments.index("--socket") + 1].startswith(f"/run/{unit['RuntimeDirectory'][0]}/")
        assert arguments[arguments.index("--store") + 1].startswith(f"/var/lib/{unit['StateDirectory'][0]}/")

    def test_what_must_not_be_lost_in_a_change(self):
        unit = settings(UNIT)
        assert unit["Type"] == ["notify"]
        assert unit["Restart"] == ["always"]
        assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]
        assert unit["IPAddressDeny"] == ["any"]
        assert unit["PrivateNetwork"] == ["yes"]
        assert unit["DevicePolicy"] == ["closed"]
        assert {"/dev/nvmap rw", "/dev/nvhost-ctrl-gpu rw", "/dev/nvgpu/igpu0/ctrl rw"} <= set(unit["DeviceAllow"])
        assert unit["MemoryDenyWriteExecute"] == ["no"]
        assert unit["User"] != ["root"]

    def test_no_list_that_systemd_237_does_not_know(self):
        """It would take an allow list of an unknown name for an empty one."""
        (calls,) = settings(UNIT)["SystemCallFilter"]
        assert calls.startswith("~")
        assert "@system-service" not in calls

    def test_the_additions_are_what_they_say(self):
        assert [path.stem for path in ADDITIONS] == ["245", "249", "254"]
        for path in ADDITIONS:
            assert f"systemd {path.stem}" in path.read_text()
            assert not settings(path).keys() & settings(UNIT).keys()

    def test_the_guide_explains_each_line(self):
        guide = (FOLDER.parents[2] / "docs" / "service.md").read_text()
        keys = set().union(*(settings(path) for path in (UNIT, *ADDITIONS)))
        unexplained = {key for key in keys if f"`{key}" not in guide} - {"Description", "WantedBy"}
        assert not unexplained

    @pytest.mark.parametrize(
        ("tree", "node", "goes_on"),
        [
            (None, None, True),
            ("nvidia,tegra186", None, False),
            ("nvidia,tegra186", "nvhost-ctrl-gpu", True),
            ("nvidia,tegra234", "nvgpu/igpu0/ctrl", True),
            ("raspberrypi,4", None, True),
        ],
    )
    def test_it_waits_for_the_gpu_of_a_jetson(self, tmp_path, tree, node, goes_on):
        command = re.fullmatch(r"/bin/sh -c '(.*)'", settings(UNIT)["ExecStartPre"][0])[1]
        if tree:
            (tmp_path / "tree").write_bytes(tree.encode() + b"\0")
        if node:
            (tmp_path / node).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / node).touch()
        command = command.replace("/proc/device-tree/compatible", f"{tmp_path}/tree").replace("/dev/", f"{tmp_path}/")
        assert (run("/bin/sh", "-c", f"2>&-; {command}").returncode == 0) == goes_on


class TestInstall:
    def test_everything_that_it_lays_is_there(self):
        script = (FOLDER / "install.sh").read_text()
        assert run("sh", "-n", FOLDER / "install.sh").returncode == 0
        for name in re.findall(r"\$here\"?/([\w@.*-]+(?:/\*\.conf)?)", script):
            assert list(FOLDER.glob(name)), name

    def test_the_helper_is_where_its_unit_looks_for_it(self):
        (command,) = settings(FOLDER / "edgesynth-power@.service")["ExecStart"]
        assert command.split()[0] in (FOLDER / "install.sh").read_text()
        assert command.split()[1:] == ["%i"], "nothing but the action"

    def test_no_file_no_change(self, tmp_path):
        assert run("sh", FOLDER / "install.sh").returncode == 2
        done = run("sh", FOLDER / "install.sh", tmp_path / "none.pyz")
        assert done.returncode != 0
        assert "none.pyz" in done.stderr


class TestPower:
    MODES = """\
< PARAM TYPE=FILE NAME=CPU_ONLINE >
# MAXN is the NONE power model to release all constraints
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=3 NAME=MAXP_CORE_ARM >
GPU MAX_FREQ 1120000000
< PM_CONFIG DEFAULT=3 >
"""

    @pytest.fixture
    def power(self, tmp_path):
        """The helper among programs that write down how they were called; returns what one action led to."""
        (tmp_path / "modes").write_text(self.MODES)
        for name in ("nvpmodel", "jetson_clocks"):
            program = tmp_path / name
            program.write_text(
                f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n'
                f'[ ! -e {tmp_path}/broken ] || exit 1\n[ "$1" != --store ] || echo kept > "$2"\n'
            )
            program.chmod(0o755)
        script = (FOLDER / "edgesynth-power").read_text()
        script = script.replace("/etc/nvpmodel.conf", f"{tmp_path}/modes")
        script = script.replace("/run/edgesynth-power/clocks", f"{tmp_path}/clocks")

        def act(*action):
            calls = tmp_path / "calls"
            calls.write_text("")
            done = run("/bin/sh", "-c", script, "edgesynth-power", *action, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
            return done.returncode, calls.read_text().replace(f"{tmp_path}/", "").splitlines(), done.stderr

        return act

    def test_a_mode_by_its_name(self, power):
        assert power("MAXN") == (0, ["nvpmodel -m 0"], "")
        assert power("MAXP_CORE_ARM") == (0, ["nvpmodel -m 3"], "")

    @pytest.mark.parametrize(
        "action", ["", "maxn", "0", "MAX*", "CPU_ONLINE", "MAXN >", "$(id)", "../modes", "-m", "."]
    )
    def test_nothing_else_is_carried_out(self, power, action):
        code, calls, said = power(action)
        assert (code, calls) == (1, [])
        assert said.endswith("its modes: MAXN MAXP_CORE_ARM\n")

    @pytest.mark.parametrize("actions", [(), ("MAXN", "MAXN")])
    def test_one_action(self, power, actions):
        code, calls, said = power(*actions)
        assert (code, calls) == (2, [])
        assert "give one ACTION" in said

    def test_clocks_are_kept_once_and_restored_once(self, power):
        assert power("clocks-max")[:2] == (0, ["jetson_clocks --store clocks.partial", "jetson_clocks "])
        assert power("clocks-max")[:2] == (0, ["jetson_clocks "]), "not over the ones from before"
        assert power("clocks-restore")[:2] == (0, ["jetson_clocks --restore clocks"])
        code, calls, said = power("clocks-restore")
        assert (code, calls) == (1, [])
        assert "nothing to restore" in said

    def test_clocks_of_another_mode_are_not_restored(self, power):
        power("clocks-max")
        power("MAXN")
        assert power("clocks-restore")[:2] == (1, [])

    def test_a_failure_is_told_and_keeps_nothing(self, power, tmp_path):
        (tmp_path / "broken").touch()
        assert power("MAXN")[0] == 1
        assert power("clocks-max")[0] == 1
        assert not (tmp_path / "clocks").exists()
