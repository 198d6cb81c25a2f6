"""Deploys to a folder that plays a device: what they leave, and what is so when one fails at any state."""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from edgesynth_agent.releases.layout import make_layout
from edgesynth_agent.releases.manifest import problems_of

from edgesynth.deploy import deploy as driver
from edgesynth.deploy.agent_file import AgentFile, make_agent_file
from edgesynth.deploy.board import BoardSession
from edgesynth.deploy.journal import journal_path
from edgesynth.deploy.manage import rollback, status, uninstall
from edgesynth.deploy.plan import plan
from edgesynth.deploy.request import DeployFailedError
from edgesynth.deploy.steps import STATES
from edgesynth.devices.transport import LocalTransport
from edgesynth.errors import BusyDeviceError, DeviceError, IncompatibleError, RefusedByDeviceError, StorageError
from tests.agent import release_rig
from tests.deploy.broken_agent import broken_agent

NAMES = [state.name for state in STATES]


def outcomes(record):
    return {state.name: state.outcome for state in record.states}


def failed(deployment, kind=DeviceError):
    with pytest.raises(DeployFailedError) as raised:
        deployment.run()
    assert isinstance(raised.value.cause, kind), raised.value.cause
    assert raised.value.record.outcome == "failed"
    return raised.value


def whole(board):
    """The current release, which must be complete."""
    if not board.current.is_symlink():
        return None
    folder = board.current.resolve()
    assert problems_of(str(folder)) == []
    return folder.name


class TestDeploy:
    def test_from_nothing_to_measured(self, board):
        lines = []
        record = board.deploy(tier="auto", tell=lines.append)
        assert (record.outcome, record.former, record.current) == ("deployed", None, record.release)
        assert [state.name for state in record.states] == NAMES
        assert record.folder == str(board.current)
        assert whole(board) == record.release
        assert {path.name for path in board.current.iterdir()} == {"model.onnx", "reference.npz", "manifest.json"}
        assert record.measurement.source == "simulated"
        assert record.measurement.latency_ms.mean > 0
        manifest = json.loads((board.current / "manifest.json").read_text())
        assert manifest["inputs"][0] == {
            "name": "image", "dtype": "float32", "shape": [1, 3, 8, 8], "mean": None, "std": None, "classes": None,
        }  # fmt: skip
        assert manifest["engine"]["backend"] == "onnxruntime"
        assert manifest["parity"]["passed"]
        assert any(line.startswith("warning: TensorRT") for line in lines)

    def test_again_changes_nothing_and_says_so(self, board):
        first = board.deploy()
        before = board.tree()
        again = board.deploy()
        assert (again.outcome, again.release) == ("unchanged", first.release)
        assert list(outcomes(again)) == ["lease", "preflight", "agent", "upload"]
        after = board.tree()
        lock = "var/lib/edgesynth/deploy.lock"
        assert {**before, lock: None} == {**after, lock: None}

    def test_another_version_and_back(self, board):
        first = board.deploy(0.25)
        second = board.deploy(0.75)
        assert second.former == first.release != second.release
        assert rollback(board.transport(), None, "ann@lab") == ("cam", first.release)
        assert whole(board) == first.release
        # What is there is not sent, built or compared again.
        third = board.deploy(0.75)
        assert outcomes(third)["upload"] == outcomes(third)["build"] == "kept"
        assert whole(board) == second.release

    def test_a_rollback_whose_answer_is_lost(self, board, monkeypatch):
        first = board.deploy(0.25)
        board.deploy(0.75)
        asked = BoardSession.ask

        def ask(self, do, **arguments):
            result = asked(self, do, **arguments)
            if do == "rollback":
                monkeypatch.setattr(LocalTransport, "broken", lambda self: "the connection broke; deploy again")
                raise self._gone()
            return result

        monkeypatch.setattr(BoardSession, "ask", ask)
        with pytest.raises(DeviceError, match=r"before the answer came, .* look with --status") as caught:
            rollback(board.transport(), "cam", "ann@lab")
        assert "deploy again" not in str(caught.value)
        assert whole(board) == first.release

    def test_old_releases_go(self, board):
        ids = [board.deploy(weight, keep=2).release for weight in (0.1, 0.2, 0.3)]
        assert {path.name for path in (board.current.parent / "releases").iterdir()} == set(ids[1:])
        rollback(board.transport(), "cam", "ann@lab")
        with pytest.raises(IncompatibleError, match="no earlier release"):
            rollback(board.transport(), "cam", "ann@lab")

    def test_status(self, board):
        assert status(board.transport()) == []
        release = board.deploy().release
        (network,) = status(board.transport())
        assert (network["name"], network["current"], network["problems"]) == ("cam", release, [])

    def test_uninstall_leaves_nothing(self, board):
        before = board.tree()
        board.deploy()
        board.deploy(name="door")
        assert uninstall(board.transport(), "door", "ann@lab") == ["door"]
        assert uninstall(board.transport(), None, "ann@lab") == ["cam"]
        assert board.tree() == before
        uninstall(board.transport(), None, "ann@lab")
        assert board.tree() == before

    def test_a_plan_changes_nothing(self, board):
        before = board.tree()
        record = board.plan()
        assert board.tree() == before
        assert record.outcome == "planned"
        assert [state.name for state in record.states] == NAMES
        assert record.release == board.deploy().release
        planned = outcomes(board.plan())
        assert (planned["agent"], planned["upload"], planned["commit"]) == ("kept", "skipped", "skipped")

    def test_modules_in_a_home_are_not_for_root(self, board):
        for user in (False, True):
            transport = board.transport()
            plan(board.request(user=user), transport)
            (session,) = [each for each in transport.commands if "deploy-session" in each]
            assert (" -s " in session) is not user

    def test_into_a_home_without_root(self, board):
        record = board.deploy(user=True)
        assert record.folder == str(board.folder / ".local/share/edgesynth/models/cam/current")
        uninstall(board.transport(), None, "ann@lab", user=True)
        assert not (board.folder / ".local").exists()

    def test_the_journal_of_this_machine(self, board):
        board.deploy()
        lines = [json.loads(line) for line in journal_path().read_text().splitlines()]
        assert [line["state"] for line in lines if line["event"] == "state"] == NAMES
        assert journal_path().stat().st_mode & 0o077 == 0


class TestFailures:
    """Wherever a deploy is broken off: the old release is current, and the next deploy succeeds by itself."""

    @pytest.fixture
    def old(self, board):
        return release_rig.deploy(make_layout({}, str(board.root)), "cam", b"old")

    @pytest.mark.parametrize("state", NAMES)
    def test_the_cable_is_cut(self, board, old, state):
        transport = board.transport()

        def observer(name, when):
            if (name, when) == (state, "after" if name != "commit" else "before"):
                transport.cut()

        error = failed(board.deployment(0.75, transport, observer=observer))
        assert "the connection broke" in str(error)
        assert whole(board) == old
        assert board.deploy(0.75).outcome == "deployed"

    def test_what_was_sent_for_a_session_goes_also_after_a_cut(self, board):
        board.environment["TMPDIR"] = str(board.folder)
        transport = board.transport()

        def observer(name, when):
            if (name, when) == ("preflight", "after"):
                transport.cut()

        failed(board.deployment(transport=transport, observer=observer))
        end_s = time.monotonic() + 60
        while list(board.folder.glob("edgesynth.*")):
            assert time.monotonic() < end_s
            time.sleep(0.05)

    @pytest.mark.parametrize("state", ["upload", "smoke", "activate", "measure"])
    def test_a_step_fails(self, board, old, state):
        def observer(name, when):
            if (name, when) == (state, "after"):
                raise DeviceError("board: a fault of the test")

        error = failed(board.deployment(0.75, observer=observer))
        assert str(error) == f"board: a fault of the test; cam is as it was (release {old})"
        assert error.record.current == old == whole(board)
        assert outcomes(error.record)[state] == "failed"
        assert board.deploy(0.75).outcome == "deployed"

    @pytest.mark.parametrize("state", ["build", "activate", "measure"])
    def test_the_session_on_the_device_is_killed(self, board, old, state):
        def observer(name, when):
            if (name, when) == (state, "after"):
                lock = board.root / "var/lib/edgesynth/deploy.lock"
                os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)

        failed(board.deployment(0.75, observer=observer))
        assert whole(board) is not None  # the old one or the new one: nobody was there to go back
        lines = []
        assert board.deploy(0.75, tell=lines.append).outcome == "deployed"
        assert any("undid a deploy of cam" in line for line in lines)

    def test_an_interrupt(self, board, old):
        def observer(name, when):
            if (name, when) == ("activate", "after"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            board.deploy(0.75, observer=observer)
        assert whole(board) == old

    def test_an_upload_that_is_damaged(self, board, old):
        class Damaging(LocalTransport):
            def send(self, file, command):
                answer = super().send(file, command)
                if "model.onnx" in command:
                    path = next(board.root.rglob("*.partial")) / "model.onnx"
                    path.write_bytes(path.read_bytes()[:-1] + b"?")
                return answer

        error = failed(board.deployment(0.75, board.transport(Damaging)), RefusedByDeviceError)
        assert "the upload was corrupted" in str(error)
        assert whole(board) == old
        assert board.deploy(0.75).outcome == "deployed"

    def test_what_is_damaged_after_its_trial_becomes_no_release(self, board, old):
        def observer(name, when):
            if (name, when) == ("activate", "before"):
                path = next(board.root.rglob("*.partial")) / "model.onnx"
                path.write_bytes(path.read_bytes()[:-1] + b"?")

        error = failed(board.deployment(0.75, observer=observer), RefusedByDeviceError)
        assert "model.onnx: it was changed after it was compared and tried" in str(error)
        assert whole(board) == old
        assert board.deploy(0.75).outcome == "deployed"

    def test_half_an_upload_is_gone_on_with(self, board, old):
        class Stopping(LocalTransport):
            def send(self, file, command):
                if "model.onnx" not in command:
                    return super().send(file, command)
                super().send(io.BytesIO(file.read(100)), command)
                raise DeviceError("board: a fault of the test")

        failed(board.deployment(0.75, board.transport(Stopping)))
        deployment = board.deployment(0.75)
        (upload,) = [state.detail for state in deployment.run().states if state.name == "upload"]
        size = sum(path.stat().st_size for path in board.request(0.75).package.files.values())
        assert upload == f"{size - 100:,} of {size:,} bytes sent, SHA-256 compared"

    def test_half_an_upload_that_is_wrong_is_sent_anew(self, board, old):
        release = board.plan(0.75).release
        partial = board.current.parent / "releases" / f"{release}.partial"
        partial.mkdir()
        (partial / "model.onnx").write_bytes(b"\0" * 50)
        assert board.deploy(0.75).outcome == "deployed"

    def test_a_link_in_half_an_upload_is_not_followed(self, board, old):
        victim = board.folder / "victim"
        victim.write_bytes(b"of another user")
        partial = board.current.parent / "releases" / f"{board.plan(0.75).release}.partial"
        partial.mkdir()
        (partial / "model.onnx").symlink_to(victim)
        (partial / "reference.npz").hardlink_to(victim)
        (partial / "more").symlink_to(board.folder)
        assert board.deploy(0.75).outcome == "deployed"
        assert victim.read_bytes() == b"of another user"
        assert whole(board)

    def test_a_full_disk_leaves_no_half_release(self, board, old):
        def observer(name, when):
            if (name, when) == ("build", "before"):
                raise StorageError("board: a fault of the test")

        failed(board.deployment(0.75, observer=observer), StorageError)
        assert [path.name for path in (board.current.parent / "releases").iterdir()] == [old]

    def test_a_damaged_current_release_stays_until_there_is_another(self, board):
        first = board.deploy(0.75)
        (board.current / "reference.npz").write_bytes(b"no")

        def observer(name, when):
            if (name, when) == ("build", "before"):
                raise DeviceError("board: a fault of the test")

        failed(board.deployment(0.75, observer=observer))
        assert (board.current / "model.onnx").is_file()
        again = board.deploy(0.75)
        assert (again.outcome, again.release) == ("deployed", first.release)
        assert whole(board) == first.release

    def test_wrong_answers(self, board, old):
        request = board.request(0.75)
        reference = request.package.files["reference"]
        with np.load(reference) as archive:
            content = dict(archive)
        content["outputs/y"] = content["outputs/y"] + 1
        np.savez(reference, **content)
        error = failed(driver.Deployment(request, board.transport()))
        assert "output 'y' differs from the reference by up to 1" in str(error)
        assert whole(board) == old


class TestAgent:
    def test_one_that_does_not_come_up_is_rolled_back(self, board, monkeypatch):
        board.deploy()
        layout = make_layout({}, str(board.root))
        former = Path(layout.agents, "current").readlink()
        with monkeypatch.context() as patched:
            patched.setattr(driver, "packed_agent", broken_agent)
            error = failed(board.deployment(0.75))
        assert "the new agent did not come up" in str(error)
        assert "the former one runs again" in str(error)
        assert Path(layout.agents, "current").readlink() == former
        assert board.deploy(0.75).outcome == "deployed"

    def test_the_first_one_that_does_not_come_up_leaves_nothing(self, board, monkeypatch):
        monkeypatch.setattr(driver, "packed_agent", broken_agent)
        error = failed(board.deployment())
        assert "nothing of it is left" in str(error)
        assert not [name for name in board.tree() if "edgesynth-" in name]

    def test_only_two_versions_stay(self, board, monkeypatch, tmp_path):
        board.deploy()

        @contextlib.contextmanager
        def another(number):
            made = make_agent_file(tmp_path)
            with made.path.open("ab") as file:
                file.write(b"\n")  # behind the archive, where it changes nothing but the digest
            yield lambda: AgentFile(made.path, hashlib.sha256(made.path.read_bytes()).hexdigest())

        monkeypatch.setattr(driver, "packed_agent", lambda: another(1))
        assert outcomes(board.deploy())["agent"] == "done"
        layout = make_layout({}, str(board.root))
        assert len(list(Path(layout.agents).iterdir())) == 3  # with `current`


class TestTwoAtOnce:
    def test_the_second_is_told_who_holds_it(self, board):
        def observer(name, when):
            if (name, when) == ("upload", "before"):
                second.append(failed(board.deployment(holder="bob@desk"), BusyDeviceError))

        second = []
        assert board.deploy(holder="ann@lab", observer=observer).outcome == "deployed"
        assert "ann@lab has been deploying for" in str(second[0])
        assert second[0].cause.exit_code == 3

    def test_one_that_was_cut_off_is_waited_for(self, board):
        board.deploy()
        lock = (board.root / "var/lib/edgesynth/deploy.lock").open("r+")
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(lock.fileno(), (time.time() - 15, time.time() - 15))
        threading.Timer(1.5, lock.close).start()
        lines = []
        assert board.deploy(0.75, tell=lines.append).outcome == "deployed"
        assert any("waiting for a deploy that was cut off" in line for line in lines)


class TestRefused:
    def test_a_machine_that_is_none(self, board):
        error = failed(board.deployment(allow_simulated=False), IncompatibleError)
        assert "--allow-simulated" in str(error)
        assert not (board.root / "opt/edgesynth").exists()

    def test_an_x86_board_called_tx2(self, board):
        del board.environment["EDGESYNTH_SIMULATED"]
        error = failed(board.deployment(allow_simulated=False), IncompatibleError)
        assert "its processor is" in str(error)
        assert error.cause.exit_code == 1
