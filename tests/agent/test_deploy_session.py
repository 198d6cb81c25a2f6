"""`edgesynth-agent deploy-session` as the workstation speaks to it: lines in, lines out, and what its end does."""

import contextlib
import json
import os
import shutil
import signal
import site
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from edgesynth_agent.pack import pack
from edgesynth_agent.releases import store
from edgesynth_agent.releases.layout import make_layout
from edgesynth_agent.releases.lock import DeployLock
from edgesynth_agent.releases.relay import SocketRelay, sweep_relays

from tests.agent.release_rig import deploy, id_of, stage
from tests.needs import need

LIMIT_S = 60


@pytest.fixture(scope="module")
def pyz(tmp_path_factory):
    out = tmp_path_factory.mktemp("agent") / "edgesynth-agent.pyz"
    pack(str(out))
    return out


@pytest.fixture
def python():
    return sys.executable


class Session:
    def __init__(self, python, pyz, root, *options):
        self.process = subprocess.Popen(
            [python, pyz, "deploy-session", "--root", root, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait(LIMIT_S)
        self.process.stdout.close()

    def say(self, line):
        self.process.stdin.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())


def test_lines_in_and_out(python, pyz, tmp_path):
    with Session(python, pyz, tmp_path, "--holder", "ann@lab") as session:
        hello = session.hear()
        assert (hello["session"], hello["service"], hello["recovered"]) == (1, "session", [])
        session.say({"do": "ping"})  # is not answered
        session.say({"id": 1, "do": "status"})
        assert session.hear()["result"] == {"networks": []}
        session.say({"id": 2, "do": "look"})
        found = session.hear()["result"]
        assert found["machine"] == os.uname().machine
        assert set(found["runtime"]["runtimes"]) == {"numpy", "onnxruntime", "tensorrt", "pycuda"}
        for line, kind in (
            (b"no json\n", "RequestError"),
            ({"id": 3, "do": "fly"}, "RequestError"),
            ({"id": 3, "do": "stage"}, "RequestError"),
            ({"id": 3, "do": "stage", "order": {"name": "cam"}}, "RequestError"),
            ({"id": 3, "do": "build"}, "RequestError"),
            ({"id": 3, "do": "rollback", "name": "../.."}, "RequestError"),
            ({"id": 3, "do": "rollback", "name": "cam"}, "NotFoundError"),
            ({"id": 3, "do": "remove", "name": "cam"}, "NotFoundError"),
        ):
            session.say(line)
            assert session.hear()["error"]["kind"] == kind, line
        session.process.stdin.close()
        assert session.process.wait(LIMIT_S) == 0


def test_modules_in_a_home_are_not_for_root(pyz, tmp_path, monkeypatch):
    modules = tmp_path / os.path.relpath(site.getusersitepackages(), str(Path("~").expanduser()))
    modules.mkdir(parents=True)
    (modules / "pycuda.py").write_text("VERSION_TEXT = 'of a home'")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYTHONNOUSERSITE", raising=False)
    python = os.path.realpath(sys.executable)  # one of a virtual environment has no user's modules
    for options, seen in (((), False), (("--user",), True)):
        with Session(python, pyz, tmp_path / "root", "--look", *options) as session:
            session.hear()
            session.say({"id": 1, "do": "look"})
            version = session.hear()["result"]["runtime"]["runtimes"]["pycuda"]["version"]
            assert (version == "of a home") is seen


def test_one_at_a_time(pyz, tmp_path):
    with Session(sys.executable, pyz, tmp_path, "--holder", "ann@lab\x1b[0m") as first:
        first.hear()
        with Session(sys.executable, pyz, tmp_path) as second:
            error = second.hear()["error"]
            assert error["kind"] == "BusyError"
            assert error["what"].startswith("ann@lab?[0m has been deploying for")
            assert error["silent_s"] < LIMIT_S
            assert second.process.wait(LIMIT_S) == 3
        with Session(sys.executable, pyz, tmp_path, "--look") as looking:
            assert looking.hear()["session"] == 1
            looking.say({"id": 1, "do": "uninstall"})
            assert looking.hear()["error"]["kind"] == "RequestError"


def test_a_signal_that_comes_while_a_lock_is_held():
    """By the very thread that the handler interrupts."""
    code = """
import os, signal, threading
from edgesynth_agent.releases.session import Reader

guard = threading.Lock()
reader = Reader(60, None, lambda: guard.acquire())
signal.signal(signal.SIGTERM, lambda *_: reader.stop())
reader.start()
with guard:
    os.kill(os.getpid(), signal.SIGTERM)
assert reader.lines.get(timeout=20) is None
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        process.communicate()


READ_TO_THE_END = """
from edgesynth_agent.releases.session import Reader

ended = []
reader = Reader(60, None, lambda: ended.append(True))
reader.start()
for line in iter(lambda: reader.lines.get(timeout=20), None):
    print(line, flush=True)
assert ended
"""


def test_a_connection_that_is_reset_ends_the_session():
    near, far = socket.socketpair()
    far.sendall(b"what is written and not read makes a reset of the end")
    process = subprocess.Popen([sys.executable, "-c", READ_TO_THE_END], stdin=far, stdout=far)
    far.close()
    near.close()
    try:
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        process.wait()


def test_lines_that_are_too_deep_are_nonsense():
    said = subprocess.check_output(
        [sys.executable, "-c", READ_TO_THE_END], input=b"[" * 100000 + b"\n{}\n", timeout=LIMIT_S
    )
    assert said.decode().split("\n") == ["{'do': 'nonsense'}", "{}", ""]


def test_a_folder_that_was_the_agents_becomes_roots(tmp_path):
    need(os.geteuid() == 0, "root, to give a folder away")
    layout = make_layout({}, str(tmp_path))
    state = Path(layout.state)
    state.mkdir(parents=True)
    state.chmod(0o700)
    os.chown(str(state), 12345, 12345)
    DeployLock(layout, "ann@lab").close()
    assert (state.stat().st_uid, stat.S_IMODE(state.stat().st_mode)) == (0, 0o755)


def test_only_looking_makes_nothing(pyz, tmp_path):
    with Session(sys.executable, pyz, tmp_path, "--look") as session:
        session.hear()
        session.say({"id": 1, "do": "look"})
        assert session.hear()["result"]["networks"] == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["the end of stdin", "silence", "SIGTERM", "SIGHUP"])
def test_what_was_not_committed_is_undone(pyz, tmp_path, how):
    layout = make_layout({}, str(tmp_path))
    deploy(layout, "cam", b"old")
    with Session(sys.executable, pyz, tmp_path, "--silence", "1" if how == "silence" else "60") as session:
        session.hear()
        store.begin(layout, "cam", id_of(b"new"), "tests")
        stage(layout, "cam", b"new")
        store.activate(layout, "cam", id_of(b"new"))
        if how == "the end of stdin":
            session.process.stdin.close()
        elif how.startswith("SIG"):
            session.process.send_signal(getattr(signal, how))
        assert session.process.wait(LIMIT_S) == 0
        assert store.current_id(layout, "cam") == id_of(b"old")
        assert store.pending(layout, "cam") is None


def test_a_file_that_was_sent_goes_with_the_session(pyz, tmp_path):
    """Not when the device is busy: then the workstation tries again."""
    folder = tmp_path / "edgesynth.12345678"
    folder.mkdir()
    sent = Path(shutil.copy(str(pyz), str(folder)))
    with Session(sys.executable, sent, tmp_path / "root") as first:
        first.hear()
        with Session(sys.executable, sent, tmp_path / "root", "--sent") as second:
            second.hear()
        assert sent.exists()
    with Session(sys.executable, sent, tmp_path / "root", "--sent") as session:
        session.hear()
        session.process.stdin.close()
        assert session.process.wait(LIMIT_S) == 0
    assert not folder.exists()


def test_what_a_killed_one_left_is_undone_by_the_next(pyz, tmp_path):
    layout = make_layout({}, str(tmp_path))
    with Session(sys.executable, pyz, tmp_path) as session:
        session.hear()
        store.begin(layout, "cam", id_of(b"new"), "tests")
        stage(layout, "cam", b"new")
        store.activate(layout, "cam", id_of(b"new"))
        session.process.kill()
    with Session(sys.executable, pyz, tmp_path) as session:
        assert session.hear()["recovered"] == ["cam"]
        assert store.current_id(layout, "cam") is None


class TestRelay:
    def test_bytes_go_to_and_fro(self, tmp_path):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            threading.Thread(target=self._answer, args=(listener,), daemon=True).start()
            relay = SocketRelay(str(tmp_path / "s"), (os.getuid(), os.getgid()))
            assert Path(relay.path).stat().st_mode & 0o077 == 0
            with socket.socket(socket.AF_UNIX) as near:
                near.settimeout(LIMIT_S)
                near.connect(relay.path)
                near.sendall(b"hello")
                near.shutdown(socket.SHUT_WR)
                assert near.recv(100) == b"HELLO"
                assert near.recv(100) == b""
            relay.close()
        assert not Path(relay.path).parent.exists()

    @staticmethod
    def _answer(listener):
        connection, _ = listener.accept()
        with connection:
            said = b""
            for data in iter(lambda: connection.recv(100), b""):
                said += data
            connection.sendall(said.upper())

    def test_what_a_killed_one_left(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        (tmp_path / "tmp").mkdir()
        (tmp_path / "kept").mkdir()
        (tmp_path / "tmp" / "edgesynth-relay-link").symlink_to(tmp_path / "kept")
        relay = SocketRelay(str(tmp_path / "nobody"), (os.getuid(), os.getgid()))
        sweep_relays()
        assert not Path(relay.path).parent.exists()
        assert (tmp_path / "kept").exists()

    def test_nobody_at_the_other_end(self, tmp_path):
        relay = SocketRelay(str(tmp_path / "nobody"), (os.getuid(), os.getgid()))
        with socket.socket(socket.AF_UNIX) as near:
            near.settimeout(LIMIT_S)
            near.connect(relay.path)
            assert near.recv(100) == b""
        relay.close()
        assert not Path(relay.path).exists()
