"""Boards that measure side by side."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from edgesynth.devices import AgentClient, AgentOracle, FakeOracle
from edgesynth.devices.jobs import Schedule
from edgesynth.devices.measured import Measurements
from edgesynth.devices.patient import PatientOracle
from edgesynth.devices.pool import STRIKES, PoolOracle
from edgesynth.errors import DeviceError
from edgesynth.records import Measurement
from tests.agent.models import save_conv
from tests.devices.played import played_tx2


class Board(FakeOracle):
    """A board of its own latency; `fails(file name)` tells for which networks it fails."""

    def __init__(
        self, latency_ms: float, fails: Callable[[str], bool] = lambda _: False, *, there: bool = True
    ) -> None:
        super().__init__("tx2", lambda _: (latency_ms, 10.0))
        self.fails, self.there = fails, there

    def __enter__(self) -> "Board":
        if not self.there:
            raise DeviceError(f"board of {self._figures(Path())[0]} ms: no route; look at its cable")
        super().__enter__()
        return self

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        answer = super()._measure(onnx, batch)
        if self.fails(onnx.name):
            raise DeviceError(f"{onnx.name} failed")
        return answer


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{index}.onnx" for index in range(20)]
    for path in paths:
        path.touch()
    return paths


def boards_of(answers: list[Measurement | DeviceError]) -> set[float | None]:
    return {a.latency_ms.mean if isinstance(a, Measurement) and a.latency_ms else None for a in answers}


def test_all_boards_work_at_the_same_time(files: list[Path]) -> None:
    barrier = threading.Barrier(4, timeout=20)  # passed only when four measure at once

    def together(_: str) -> bool:
        barrier.wait()
        return False

    with PoolOracle([Board(float(index + 1), together) for index in range(4)]) as pool:
        answers = pool.try_many(files)
    assert boards_of(answers) == {1.0, 2.0, 3.0, 4.0}


def test_a_board_that_always_fails_is_left_out_and_nothing_is_lost(files: list[Path]) -> None:
    """However quickly it fails, and however long the others take."""

    def slowly(_: str) -> bool:
        time.sleep(0.01)
        return False

    bad = Board(9.0, lambda _: True)
    with PoolOracle([bad, Board(1.0, slowly), Board(2.0, slowly)]) as pool:
        assert boards_of(pool.try_many(files)) <= {1.0, 2.0}
        assert boards_of(pool.try_many(files)) <= {1.0, 2.0}
    assert len(bad.asked) <= STRIKES + 1


def test_a_network_that_fails_everywhere_is_to_blame_and_the_boards_stay(files: list[Path]) -> None:
    boards = [Board(1.0, lambda name: name == "3.onnx"), Board(2.0, lambda name: name == "3.onnx")]
    with PoolOracle(boards) as pool:
        answers = pool.try_many(files)
        assert [isinstance(answer, DeviceError) for answer in answers] == [path.name == "3.onnx" for path in files]
        assert None not in boards_of(pool.try_many(files[:3]))
    for board in boards:
        assert [path.name for path, _ in board.asked].count("3.onnx") == 1


def test_one_board_alone_fails_for_single_networks(files: list[Path]) -> None:
    with PoolOracle([Board(1.0, lambda name: name in ("1.onnx", "2.onnx"))]) as pool:
        answers = pool.try_many(files[:4])
        assert [isinstance(answer, DeviceError) for answer in answers] == [False, True, True, False]
        with pytest.raises(DeviceError, match=r"1\.onnx failed"):
            pool.measure(files[1])
        assert pool.measure(files[0]).energy_mj == 10.0


def test_boards_that_are_not_there(files: list[Path]) -> None:
    with PoolOracle([Board(1.0, there=False), Board(2.0)]) as pool:
        assert boards_of(pool.try_many(files)) == {2.0}
    with pytest.raises(DeviceError, match=r"no tx2 answers: .*1\.0 ms: no route.*; .*2\.0 ms"):
        PoolOracle([Board(1.0, there=False), Board(2.0, there=False)]).__enter__()


def test_a_mistake_is_not_swallowed(files: list[Path]) -> None:
    def mistake(_: str) -> bool:
        raise ZeroDivisionError

    with PoolOracle([Board(1.0, mistake), Board(2.0)]) as pool, pytest.raises(ZeroDivisionError):
        pool.try_many(files)


def test_a_pool_is_of_one_target() -> None:
    with pytest.raises(ValueError, match="of one target"):
        PoolOracle([FakeOracle("tx2", lambda _: (1, 1)), FakeOracle("nano", lambda _: (1, 1))])


def test_a_board_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    """Real agents; one gets SIGKILL while it measures its second network."""
    files = [save_conv(tmp_path / f"{size}.onnx", size=size) for size in range(8, 14)]
    memory = Measurements(tmp_path / "measurements.sqlite")
    schedule = Schedule(warmup_min_s=0.0, warmup_max_s=0.05, windows=2, window_s=0.1)
    with played_tx2(tmp_path / "one") as doomed, played_tx2(tmp_path / "two") as other:
        stages: list[str] = []

        def kill(stage: str, _: float) -> None:
            stages.append(stage)
            if stage == "measuring" and "done" in stages:
                doomed.process.kill()

        def board(path: Path, on_progress: Callable[[str, float], None] | None) -> PatientOracle:
            agent = nullcontext(AgentClient(path, f"tx2@unix://{path}"))
            return PatientOracle(AgentOracle("tx2", agent, schedule, on_progress, memory=memory), wait_s=0)

        with PoolOracle([board(doomed.socket_path, kill), board(other.socket_path, None)]) as pool:
            answers = pool.try_many(files)
    assert doomed.process.poll() is not None
    assert all(isinstance(answer, Measurement) for answer in answers)
    graphs = [key.graph for key, _ in memory.all("tx2")]
    assert len(set(graphs)) == len(graphs) == len(files)
