"""What the agent tells systemd: sd_notify's protocol over a real socket, and the watchdog's logic."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from edgesynth_agent.clock import FakeClock
from edgesynth_agent.server import AgentServer
from edgesynth_agent.systemd import ServiceManager

from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, job_request, until


class FakeSystemd:
    """The other end of NOTIFY_SOCKET. `environ` is what systemd gives to a service."""

    def __init__(self, address, watchdog_s=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.settimeout(20)
        self.environ = {"NOTIFY_SOCKET": address}
        if watchdog_s is not None:
            self.environ.update({"WATCHDOG_USEC": str(int(watchdog_s * 1e6)), "WATCHDOG_PID": str(os.getpid())})

    def hear(self):
        return self.socket.recv(4096).decode()

    def all_heard(self):
        """What has come and was not yet heard."""
        self.socket.settimeout(0)
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(self.hear())
        return heard


@pytest.fixture
def folder():
    """Short enough for the address of a socket."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["path", "abstract"])
def systemd(request, folder):
    address = str(folder / "notify") if request.param == "path" else f"@edgesynth-test-{os.getpid()}"
    systemd = FakeSystemd(address, watchdog_s=60)
    yield systemd
    systemd.socket.close()


class TestProtocol:
    def test_ready_and_stopping(self, systemd):
        manager = ServiceManager(systemd.environ, FakeClock())
        manager.ready("listens")
        assert systemd.hear() == "READY=1\nSTATUS=listens"
        manager.stopping()
        assert systemd.hear().startswith("STOPPING=1\n")

    def test_its_variables_are_not_left_to_children(self, systemd):
        environ = {**systemd.environ, "PATH": "/bin"}
        ServiceManager(environ, FakeClock())
        assert environ == {"PATH": "/bin"}

    @pytest.mark.parametrize("address", ["", "/nowhere/to/be/found", "vsock:2:1234", "relative"])
    def test_nobody_listens(self, address):
        manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}, FakeClock())
        manager.ready("x")
        manager.beat()
        manager.stopping()

    def test_a_full_queue_does_not_block(self, systemd):
        manager = ServiceManager(systemd.environ, FakeClock())
        for _ in range(5000):  # far more than a queue holds
            manager.ready("x")
        assert 0 < len(systemd.all_heard()) < 5000


class TestWatchdog:
    def test_it_beats_at_once_and_then_at_half_the_interval(self, systemd):
        clock = FakeClock()
        manager = ServiceManager(systemd.environ, clock)
        beats = []
        for _ in range(1000):  # a loop that turns ten times a second
            manager.beat()
            beats += [clock.now_s()] * len(systemd.all_heard())
            clock.advance(0.1)
        assert beats == pytest.approx([0, 30, 60, 90], abs=0.15)

    def test_a_beat_that_was_not_taken_is_repeated_on_the_next_turn(self, folder):
        clock = FakeClock()
        address = str(folder / "late")
        manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000"}, clock)
        manager.beat()
        systemd = FakeSystemd(address)
        clock.advance(0.1)
        manager.beat()
        assert systemd.all_heard() == ["WATCHDOG=1"]
        systemd.socket.close()

    @pytest.mark.parametrize(
        "watchdog",
        [
            {},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "soon"},
            {"WATCHDOG_USEC": "-5"},
            {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"},
        ],
    )
    def test_no_watchdog_no_beat(self, folder, watchdog):
        systemd = FakeSystemd(str(folder / "notify"))
        ServiceManager({**systemd.environ, **watchdog}, FakeClock()).beat()
        assert systemd.all_heard() == []
        systemd.socket.close()

    def test_a_server_that_hangs_beats_no_more(self, folder):
        beats, hang, go_on = threading.Semaphore(0), threading.Event(), threading.Event()

        class HangingServer(AgentServer):
            def process_request(self, request, client_address):
                hang.set()
                go_on.wait(20)
                self.shutdown_request(request)

        server = HangingServer(str(folder / "s"), None, on_loop=beats.release)
        loop = threading.Thread(target=server.serve_forever, args=(0.01,))
        loop.start()
        try:
            assert all(beats.acquire(timeout=20) for _ in range(3)), "it beats without any request"
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(folder / "s"))
                assert hang.wait(20)
                while beats.acquire(blocking=False):
                    pass
                assert not beats.acquire(timeout=0.2), "twenty turns of the loop"
                go_on.set()
                assert beats.acquire(timeout=20)
        finally:
            go_on.set()
            server.shutdown()
            loop.join()
            server.server_close()


class TestTheAgent:
    @pytest.fixture
    def started(self, folder, monkeypatch):
        """An agent that this systemd started, and systemd."""
        systemd = FakeSystemd(str(folder / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.environ["NOTIFY_SOCKET"])
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        with RunningAgent(folder) as agent:
            yield agent, systemd
        systemd.socket.close()

    def test_it_says_ready_beats_and_says_that_it_stops(self, started):
        agent, systemd = started
        wanted = {f"READY=1\nSTATUS=listens on {agent.socket_path}": 1, "WATCHDOG=1": 3}
        while wanted:  # a message that never comes is a TimeoutError
            message = systemd.hear()
            wanted[message] = wanted.get(message, 1) - 1
            wanted = {key: count for key, count in wanted.items() if count > 0}
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(20) == 0
        assert any(message.startswith("STOPPING=1\n") for message in systemd.all_heard())

    def test_a_stopped_agent_is_silent(self, started):
        agent, systemd = started
        systemd.hear()
        agent.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: Path(f"/proc/{agent.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
            systemd.all_heard()
            systemd.socket.settimeout(1)
            with pytest.raises(socket.timeout):
                systemd.hear()
        finally:
            agent.process.send_signal(signal.SIGCONT)
        systemd.socket.settimeout(20)
        assert systemd.hear() == "WATCHDOG=1"

    def test_its_worker_cannot_speak_for_it(self, started, tmp_path):
        agent, _ = started
        model = agent.upload(save_conv(tmp_path / "conv.onnx"))
        worker = agent.measuring(agent.submit(job_request(model, window_s=10)))
        environ = Path(f"/proc/{worker}/environ").read_bytes()
        assert b"PATH=" in environ
        assert b"NOTIFY_SOCKET" not in environ
        assert b"WATCHDOG" not in environ

    @pytest.mark.parametrize(("options", "mode"), [((), 0o600), (("--socket-mode", "660"), 0o660)])
    def test_who_may_connect(self, folder, options, mode):
        with RunningAgent(folder, *options) as agent:
            assert agent.socket_path.stat().st_mode & 0o777 == mode

    def test_no_other_mode(self, folder):
        command = [sys.executable, "-m", "edgesynth_agent", "serve", "--socket", folder / "s", "--store", folder]
        done = subprocess.run(
            [*command, "--socket-mode", "666"], check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60
        )
        assert done.returncode == 2
        assert b"--socket-mode" in done.stderr
