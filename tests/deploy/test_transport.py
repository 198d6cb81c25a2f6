"""The transports: OpenSSH against a real sshd, and the fake, by the same contract; what ssh's messages become."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgesynth.cli.main import run
from edgesynth.devices.ssh import SshTransport, explain
from edgesynth.devices.transport import LocalTransport
from edgesynth.errors import DeviceError, EdgesynthError
from tests.agent.running import gone, until
from tests.deploy.contract import TransportContract
from tests.deploy.sshd import LocalSshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with LocalSshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


class TestLocal(TransportContract):
    def make(self):
        return LocalTransport(Path("/"))

    def cut(self, transport):
        transport.cut()


class TestSsh(TransportContract):
    @pytest.fixture(autouse=True)
    def _server(self, sshd):
        self.server = sshd

    def make(self):
        return SshTransport("board", self.server.config)

    def cut(self, transport):
        """As a network does that is gone: the master ends, nobody says goodbye."""
        os.kill(transport._master.pid, signal.SIGKILL)
        transport._master.wait()

    def test_one_connection_for_everything(self, sshd):
        with self.make() as transport:
            for _ in range(3):
                transport.ask("true")
            # The client that everything goes through, and no other, is connected.
            port = f"{sshd.port:04X}"
            rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            assert sum(row[2].endswith(":" + port) and row[3] == "01" for row in rows) == 1

    def test_nothing_is_left(self):
        transport = self.make()
        with transport:
            folder = transport._folder
            assert folder.stat().st_mode & 0o077 == 0
        assert not folder.exists()
        assert transport._master is None

    def test_it_ends_with_a_program_that_is_killed(self, sshd):
        code = (
            "import sys, time; from pathlib import Path; from edgesynth.devices.ssh import SshTransport\n"
            "with SshTransport('board', Path(sys.argv[1])) as t: print(t._master.pid, flush=True); time.sleep(60)"
        )
        process = subprocess.Popen([sys.executable, "-c", code, sshd.config], stdout=subprocess.PIPE)
        with process:
            master = int(process.stdout.readline())
            assert not gone(master)
            process.kill()
        until(lambda: gone(master))

    def test_a_broken_connection_makes_no_new_one(self):
        with self.make() as transport:
            self.cut(transport)
            transport.broken = lambda: None  # it has not been noticed yet
            answer = transport.ask("echo a second connection")
            assert (answer.code, answer.out) == (255, "")

    def test_a_command_in_the_users_configuration(self, sshd, tmp_path):
        config = tmp_path / "config"
        config.write_text(f"Match all\n  RemoteCommand tmux new -A\n  RequestTTY yes\n{sshd.config.read_text()}")
        with SshTransport("board", config) as transport:
            assert transport.ask("echo yes").out == "yes\n"

    def test_a_changed_host_key_is_refused_with_what_to_do(self, sshd, tmp_path):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
        sshd.know((tmp_path / "other.pub").read_text())
        try:
            with pytest.raises(DeviceError) as raised, self.make():
                pass
        finally:
            sshd.know((sshd.folder / "host.pub").read_text())
        said = str(raised.value)
        assert said.startswith("board: its host key is not the known one")
        assert f"remove line 1 of {sshd.known_hosts}" in said
        assert "\n" not in said

    def test_an_unknown_host_key_is_not_taken(self, sshd):
        sshd.forget()
        try:
            with pytest.raises(DeviceError, match="its host key is not known yet: ssh board once by hand"), self.make():
                pass
            assert sshd.known_hosts.read_text() == ""
        finally:
            sshd.know((sshd.folder / "host.pub").read_text())

    def test_a_user_who_may_not_enter(self, sshd):
        with pytest.raises(DeviceError, match="does not let this user in"), SshTransport("nobody@board", sshd.config):
            pass

    def test_a_host_that_does_not_answer(self, sshd):
        with pytest.raises(DeviceError, match="cannot be reached"), SshTransport("ssh://127.0.0.1:1", sshd.config):
            pass

    def test_the_command_line(self, sshd, tmp_path, monkeypatch, capsys):
        """One line, exit code 3."""
        monkeypatch.setenv("EDGESYNTH_SSH_CONFIG", str(sshd.config))
        assert run(["deploy", "--status", "--host", "nobody@board"]) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"edgesynth: nobody@board: it does not let this user in .*\n", err)


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b", "a\nb", "\x1b[0m"])
def test_hosts_that_are_none(host):
    with pytest.raises(EdgesynthError, match="is no host"):
        SshTransport(host)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ssh: Could not resolve hostname bord: Name or service not known\n", "no such host"),
        ("ssh: connect to host x port 22: Connection refused\n", "cannot be reached"),
        ("ssh: connect to host x port 22: No route to host\n", "cannot be reached"),
        ("Permission denied (publickey,password).\n", "does not let this user in"),
        (
            "kex_exchange_identification: something new\n",
            "ssh could not connect (kex_exchange_identification: something",
        ),
        ("", "it said nothing"),
    ],
)
def test_what_ssh_says_in_one_line(said, words):
    assert words in explain(said, "ann@board")


def test_a_device_that_does_not_answer_in_time():
    with LocalTransport(Path("/")) as transport:
        begin_s = time.monotonic()
        with pytest.raises(DeviceError, match="no answer in"):
            transport.ask("exec sleep 60", limit_s=0.2)
        assert time.monotonic() - begin_s < 30
