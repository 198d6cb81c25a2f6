"""The agent as installed by a deploy: its files, versions side by side, and the way back."""

import pwd
import stat
from pathlib import Path

import pytest
from edgesynth_agent.errors import AgentError
from edgesynth_agent.releases import install, service
from edgesynth_agent.releases.install import ADDITIONS, SYSTEM_UNITS, install_agent, installed_version, remove_agent
from edgesynth_agent.releases.layout import make_layout
from edgesynth_agent.releases.service import AgentService, SystemdService

UNITS = Path(install.__file__).parents[1] / "units"


class FakeService(AgentService):
    """Comes up unless the agent that is current says that it is broken; `did` remembers what was asked of it."""

    kind = "systemd"

    def __init__(self, layout):
        self._agent = Path(layout.agents) / "current" / install.AGENT
        self.did = []

    def prepare(self):
        self.did.append("prepare")

    def restart(self):
        self.did.append("restart")
        if b"broken" in self._agent.read_bytes():
            raise AgentError("it is broken", "the agent", "mend it")

    def active(self):
        return "restart" in self.did

    def remove(self):
        self.did.append("remove")

    def forget(self):
        self.did.append("forget")


@pytest.fixture
def layout(tmp_path):
    for name in ("etc/systemd/system", "opt", "usr/local/bin", "usr/local/lib", "var/lib"):
        (tmp_path / name).mkdir(parents=True)
    return make_layout({}, str(tmp_path))


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch):
    monkeypatch.setattr(install, "read_health", lambda socket, limit_s: {"status": "ok"})
    monkeypatch.setattr(install, "systemd_version", lambda: 249)


@pytest.fixture
def agent(tmp_path):
    def make(content):
        path = tmp_path / "sent.pyz"
        path.write_bytes(content)
        return str(path)

    return make


def test_the_units_are_those_of_the_package():
    assert sorted(path.name for path in UNITS.glob("*.service")) == sorted(SYSTEM_UNITS)
    assert sorted(int(path.stem) for path in (UNITS / "edgesynth-agent.service.d").iterdir()) == list(ADDITIONS)


def test_a_first_one(layout, agent):
    service = FakeService(layout)
    found = install_agent(layout, service, agent(b"one"))
    assert (found["changed"], found["former"]) == (True, None)
    assert service.did == ["prepare", "restart"]
    assert Path(layout.command).read_bytes() == b"one"
    assert stat.S_IMODE(Path(layout.helper).stat().st_mode) == 0o755
    # Only what systemd 249 knows.
    assert sorted(path.stem for path in Path(layout.units, "edgesynth-agent.service.d").iterdir()) == ["245", "249"]
    assert install_agent(layout, service, agent(b"one"))["changed"] is False
    assert service.did == ["prepare", "restart"]


def test_nothing_is_left_of_one_that_no_deploy_put_there(layout):
    Path(layout.command).write_bytes(b"by install.sh")
    remove_agent(layout, FakeService(layout))
    assert not Path(layout.command).exists()


class TestSystemdService:
    """What it asks of the system's tools."""

    @pytest.fixture
    def tools(self, monkeypatch, tmp_path):
        asked = []
        monkeypatch.setattr(service, "_call", lambda command, check=True: asked.append(" ".join(command)) or 0)
        monkeypatch.setattr(service, "_POWER_STATE", str(tmp_path / "power"))
        return asked

    def account(self, monkeypatch, home):
        entry = pwd.struct_passwd((service.ACCOUNT, "x", 1000, 1000, "", home, "/bin/bash"))
        monkeypatch.setattr(pwd, "getpwnam", lambda name: entry)

    def test_a_user_of_that_name_is_left_alone(self, layout, tools, monkeypatch):
        self.account(monkeypatch, "/home/edgesynth")
        with pytest.raises(AgentError, match="it is none that a deploy made"):
            SystemdService(layout).prepare()
        SystemdService(layout).remove()
        assert not [each for each in tools if each.startswith(("user", "group"))]

    def test_its_own_goes(self, layout, tools, monkeypatch):
        self.account(monkeypatch, "/var/lib/edgesynth")
        SystemdService(layout).prepare()
        SystemdService(layout).remove()
        assert [each for each in tools if each.startswith(("userdel", "groupdel"))] == [
            "userdel edgesynth",
            "groupdel edgesynth",
        ]

    def test_clocks_that_were_kept_are_put_back(self, layout, tools, monkeypatch, tmp_path):
        self.account(monkeypatch, "/var/lib/edgesynth")
        (tmp_path / "power").mkdir()
        (tmp_path / "power" / "clocks").touch()
        SystemdService(layout).remove()
        assert "systemctl start edgesynth-power@clocks-restore.service" in tools
        assert not (tmp_path / "power").exists()


def test_a_unit_that_was_changed_is_put_right(layout, agent):
    service = FakeService(layout)
    install_agent(layout, service, agent(b"one"))
    unit = Path(layout.units) / SYSTEM_UNITS[0]
    unit.write_text("something else")
    assert install_agent(layout, service, agent(b"one"))["changed"] is True
    assert unit.read_bytes() == (UNITS / SYSTEM_UNITS[0]).read_bytes()


def test_back_to_the_former_one(layout, agent):
    service = FakeService(layout)
    install_agent(layout, service, agent(b"one"))
    unit = Path(layout.units) / SYSTEM_UNITS[0]
    unit.write_text("as it was")
    former = installed_version(layout)
    with pytest.raises(AgentError, match="the former one runs again"):
        install_agent(layout, service, agent(b"two, broken"))
    assert installed_version(layout) == former
    assert Path(layout.command).read_bytes() == b"one"
    assert unit.read_text() == "as it was"
    assert service.did[-1] == "restart"


def test_one_that_install_sh_put_there_is_the_former_one(layout, agent):
    service = FakeService(layout)
    Path(layout.command).write_bytes(b"by hand")
    with pytest.raises(AgentError, match="the former one runs again"):
        install_agent(layout, service, agent(b"two, broken"))
    assert Path(layout.command).read_bytes() == b"by hand"
    assert install_agent(layout, service, agent(b"three"))["changed"] is True
    assert Path(layout.command).read_bytes() == b"three"


def test_nothing_is_left(layout, agent, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    service = FakeService(layout)
    install_agent(layout, service, agent(b"one"))
    wants = Path(layout.units) / "multi-user.target.wants"
    wants.mkdir()
    (wants / "edgesynth-power@MAXN.service").symlink_to("../edgesynth-power@.service")
    (wants / "another.service").symlink_to("../another.service")
    remove_agent(layout, service)
    assert service.did[-2:] == ["remove", "forget"]
    left = set(tmp_path.rglob("*")) - set(before) - {tmp_path / "sent.pyz", wants, wants / "another.service"}
    assert left == {tmp_path / "opt/edgesynth"}  # the uninstall takes it


def test_the_unit_of_a_user(tmp_path, agent):
    home = tmp_path / "50% of a home"
    layout = make_layout({"HOME": str(home), "XDG_RUNTIME_DIR": str(tmp_path)}, user=True)
    service = FakeService(layout)
    service.kind = "systemd --user"
    install_agent(layout, service, agent(b"one"))
    unit = (home / ".config/systemd/user" / SYSTEM_UNITS[0]).read_text()
    place = str(home).replace("%", "%%")
    assert f'ExecStart="{place}/.local/share/edgesynth/agent/current/edgesynth-agent.pyz" serve' in unit
    assert "@" not in unit.replace("# ", "")
