"""Figures in one power mode of a board, and in no other."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from edgesynth.devices import AgentOracle, Schedule, power_helper, remote
from edgesynth.devices.measured import Measurements
from edgesynth.devices.opening import open_device
from edgesynth.devices.power_helper import HeldPowerMode
from edgesynth.devices.power_mode import HoldMode, WantedMode
from edgesynth.devices.remote import RemoteAgent
from edgesynth.devices.ssh import CONFIG_VARIABLE, SshTransport
from edgesynth.devices.transport import LocalTransport
from edgesynth.errors import DeviceError, EdgesynthError
from tests.agent.models import save_conv
from tests.agent.running import until
from tests.deploy.sshd import LocalSshd
from tests.devices.played import PlayedModes, played_tx2

SHORT = Schedule(warmup_min_s=0, warmup_max_s=0.05, windows=3, window_s=0.02)
# Long enough to be disturbed before it ends.
SLOW = Schedule(warmup_min_s=0, warmup_max_s=0.05, windows=2, window_s=1.0)
ADDRESS = "tx2@ssh://board"


@pytest.fixture
def modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedModes:
    made = PlayedModes(tmp_path / "one" / "board")
    monkeypatch.setattr(power_helper, "HELPER", str(made.helper))
    return made


@pytest.fixture
def transport(modes: PlayedModes) -> Iterator[LocalTransport]:
    with LocalTransport(Path("/"), "board", {"PATH": f"{modes.path}:{os.environ['PATH']}"}) as made:
        yield made


@pytest.fixture
def board(modes: PlayedModes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The socket of an agent there, where RemoteAgent looks for it."""
    monkeypatch.setattr(remote, "SOCKETS", (str(tmp_path / "one" / "agent.sock"),))
    with played_tx2(tmp_path / "one"):
        yield tmp_path / "one" / "agent.sock"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_conv(tmp_path / "conv.onnx", batch=1)


class Holding:
    """Sets the mode of a played board from outside; `held` counts."""

    def __init__(self, modes: PlayedModes) -> None:
        self._modes = modes
        self.held = 0

    @contextmanager
    def __call__(self, number: int) -> Iterator[None]:
        before = self._modes.now
        self._modes.set(number)
        self.held += 1
        yield
        self._modes.set(before)


def oracle(socket: Path, number: int, hold: HoldMode | None, **options: object) -> AgentOracle:
    agent = RemoteAgent(LocalTransport(Path("/"), "board"), ADDRESS)
    return AgentOracle("tx2", agent, SHORT, mode=WantedMode(number, hold), **options)  # type: ignore[arg-type]


class TestWantedMode:
    def test_set_for_as_long_as_the_board_is_held(self, board: Path, modes: PlayedModes, model: Path) -> None:
        holding = Holding(modes)
        with oracle(board, 0, holding) as asked:
            record = asked.measure(model)
            assert modes.now == 0
        assert (modes.now, holding.held) == (3, 1)
        assert record.conditions is not None
        for when in ("before", "after"):
            assert record.conditions[when]["power_mode"] == {"id": 0, "name": "MAXN"}

    def test_nothing_is_set_where_it_is_so_already(self, board: Path, modes: PlayedModes, model: Path) -> None:
        holding = Holding(modes)
        with oracle(board, 3, holding) as asked:
            asked.measure(model)
        assert holding.held == 0

    def test_put_back_when_measuring_fails(self, board: Path, modes: PlayedModes, tmp_path: Path) -> None:
        with oracle(board, 0, Holding(modes)) as asked, pytest.raises(DeviceError, match="is open"):
            asked.measure(save_conv(tmp_path / "open.onnx", size="s"))
        assert modes.now == 3

    def test_another_mode_without_a_way_to_set_it(self, board: Path, modes: PlayedModes) -> None:
        said = r"it is in power mode 3 \(MAXP_CORE_ARM\), not 0, and without ssh .*On the board: sudo nvpmodel -m 0$"
        with pytest.raises(DeviceError, match=said):
            oracle(board, 0, None).__enter__()
        assert modes.now == 3

    def test_one_that_did_not_come_about(self, board: Path, modes: PlayedModes) -> None:
        """Setting it said that it went well; the board says otherwise."""

        @contextmanager
        def in_vain(number: int) -> Iterator[None]:
            yield

        with pytest.raises(DeviceError, match=r"in power mode 3 \(MAXP_CORE_ARM\), not 0; nothing was measured"):
            oracle(board, 0, in_vain).__enter__()

    def test_why_it_cannot_be_set(self, board: Path) -> None:
        def refused(number: int) -> AbstractContextManager[None]:
            raise DeviceError("a password is required")

        with pytest.raises(DeviceError, match=r"setting it failed \(a password is required\); nothing was measured"):
            oracle(board, 0, refused).__enter__()

    def test_a_board_that_does_not_tell(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remote, "SOCKETS", (str(tmp_path / "one" / "agent.sock"),))
        with (
            played_tx2(tmp_path / "one"),
            pytest.raises(DeviceError, match=r"there is no /usr/sbin/nvpmodel.*leave out --power-mode"),
        ):
            oracle(tmp_path, 0, None).__enter__()

    def test_a_mode_that_was_changed_before_the_next_one(self, board: Path, modes: PlayedModes, model: Path) -> None:
        with oracle(board, 3, None) as asked:
            asked.measure(model)
            modes.set(0)
            with pytest.raises(DeviceError, match="not 3; nothing was measured"):
                asked.measure(model)

    def test_figures_of_two_modes_are_thrown_away(self, board: Path, modes: PlayedModes, model: Path) -> None:
        def disturb(stage: str, share: float) -> None:
            if stage == "measuring":
                modes.set(0)

        said = r"its power mode was 3 \(MAXP_CORE_ARM\) before the run and 0 \(MAXN\) after it, not 3"
        agent = RemoteAgent(LocalTransport(Path("/"), "board"), ADDRESS)
        with (
            AgentOracle("tx2", agent, SLOW, disturb, mode=WantedMode(3)) as asked,
            pytest.raises(DeviceError, match=said),
        ):
            asked.measure(model)


def test_what_was_measured_in_two_modes_is_not_kept(
    board: Path, modes: PlayedModes, model: Path, tmp_path: Path
) -> None:
    def disturb(stage: str, share: float) -> None:
        if stage == "measuring":
            modes.set(0)

    memory = Measurements(tmp_path / "measured.sqlite")
    agent = RemoteAgent(LocalTransport(Path("/"), "board"), ADDRESS)
    with AgentOracle("tx2", agent, SLOW, disturb, memory=memory) as asked:
        record = asked.measure(model)
        assert any("the power mode was changed" in text for text in record.warnings)
        assert memory.all("tx2") == []
        asked.measure(model)
        assert len(memory.all("tx2")) == 1


class TestHeldPowerMode:
    def test_held_and_put_back(self, transport: LocalTransport, modes: PlayedModes) -> None:
        for _ in range(2):
            with HeldPowerMode(transport, 0):
                assert modes.now == 0
            assert modes.now == 3

    def test_signs_of_life(
        self, transport: LocalTransport, modes: PlayedModes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It holds for longer than the helper puts up with silence."""
        modes.helper.write_text(modes.helper.read_text().replace("silence_s=60", "silence_s=1"))
        monkeypatch.setattr(power_helper, "BEAT_S", 0.1)
        with HeldPowerMode(transport, 0):
            time.sleep(2.5)
            assert modes.now == 0

    def test_a_user_who_is_not_root_asks_sudo(
        self, transport: LocalTransport, modes: PlayedModes, tmp_path: Path
    ) -> None:
        (modes.path / "id").write_text("#!/bin/sh\necho 1000\n")
        sudo = modes.path / "sudo"
        sudo.write_text(f'#!/bin/sh\nprintf "%s " "$@" >{tmp_path}/asked\nshift\nexec "$@"\n')
        for path in (modes.path / "id", sudo):
            path.chmod(0o755)
        with HeldPowerMode(transport, 0):
            assert modes.now == 0
        assert (tmp_path / "asked").read_text() == f"-n {modes.helper} hold 0 "
        sudo.write_text('#!/bin/sh\necho "sudo: a password is required" >&2\nexit 1\n')
        with pytest.raises(DeviceError, match=r"^sudo: a password is required$"):
            HeldPowerMode(transport, 0).__enter__()

    def test_why_not(self, transport: LocalTransport, modes: PlayedModes) -> None:
        with pytest.raises(DeviceError, match=r"has no mode with that number; its numbers: 0 3$"):
            HeldPowerMode(transport, 9).__enter__()
        modes.stick()
        with pytest.raises(DeviceError, match=r"^mode 3 or its clocks could not be put back$"):
            HeldPowerMode(transport, 0).__enter__()
        modes.helper.write_text("#!/bin/sh\n")
        with pytest.raises(DeviceError, match=r"is of an earlier agent, deploy again$"):
            HeldPowerMode(transport, 0).__enter__()
        modes.helper.unlink()
        with pytest.raises(DeviceError, match=f"^there is no {modes.helper}$"):
            HeldPowerMode(transport, 0).__enter__()

    def test_what_is_not_put_back_is_told(self, transport: LocalTransport, modes: PlayedModes) -> None:
        def hold() -> None:
            with HeldPowerMode(transport, 0):
                modes.stick()

        with pytest.raises(DeviceError, match=r"^board: its power mode was not put back \(mode 3 .*nvpmodel -q there$"):
            hold()

    def test_a_connection_that_breaks(self, transport: LocalTransport, modes: PlayedModes) -> None:
        with HeldPowerMode(transport, 0):
            transport.cut()
            until(lambda: modes.now == 3)

    def test_a_holder_that_is_killed(self, transport: LocalTransport, modes: PlayedModes) -> None:
        code = (
            "import sys; from pathlib import Path; from edgesynth.devices import power_helper as p\n"
            "from edgesynth.devices.transport import LocalTransport\n"
            f"p.HELPER = {str(modes.helper)!r}\n"
            "with LocalTransport(Path('/')) as t, p.HeldPowerMode(t, 0): print('held', flush=True); sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PATH": f"{modes.path}:{os.environ['PATH']}"},
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            assert modes.now == 0
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: modes.now == 3)


def test_by_a_real_sshd(
    board: Path, modes: PlayedModes, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sshd"
    folder.mkdir()
    # sshd gives commands a PATH of its own.
    modes.helper.write_text(modes.helper.read_text().replace("set -eu\n", f"set -eu\nPATH={modes.path}:$PATH\n"))
    with LocalSshd(folder) as sshd:
        monkeypatch.setenv(CONFIG_VARIABLE, str(sshd.config))
        with open_device(ADDRESS, power_mode=0) as asked:
            record = asked.measure(model)
        assert modes.now == 3
        assert record.conditions is not None
        assert record.conditions["after"]["power_mode"]["id"] == 0
        with SshTransport("board") as transport, HeldPowerMode(transport, 0):
            assert transport._master is not None
            transport._master.kill()
            until(lambda: modes.now == 3)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("host", 0, "host has no power modes: leave out --power-mode, or name a board"),
        ("tx2-sim", 0, "ask edgesynth estimate --target tx2-sim"),
        ("tx2@ssh://a", 9, r"tx2 has no power mode 9: known are 0 \(MAXN\), 1 \(MAXQ\)"),
    ],
)
def test_what_no_board_has_is_bad_input(text: str, mode: int, said: str) -> None:
    with pytest.raises(EdgesynthError, match=said) as caught:
        open_device(text, power_mode=mode)
    assert caught.value.exit_code == 2


def test_where_no_source_tells_the_modes_the_board_does() -> None:
    open_device("thor@ssh://a", power_mode=1)
