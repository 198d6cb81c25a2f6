"""Waiting for a device that is gone for a while."""

import time
from pathlib import Path

import pytest

from edgesynth.devices import FakeOracle
from edgesynth.devices.patient import RETRY_S, PatientOracle
from edgesynth.errors import DeviceError
from edgesynth.records import Measurement


class Board(FakeOracle):
    """Gone for so many attempts to enter it; `cut` takes it away in the middle of a measurement."""

    def __init__(self, gone_for: int = 0) -> None:
        super().__init__("tx2", lambda _: (2.0, 10.0))
        self.gone_for, self.entered, self.left = gone_for, 0, 0
        self.cut = self.refuse = False

    def __enter__(self) -> "Board":
        self.entered += 1
        if self.entered <= self.gone_for:
            raise DeviceError("board: cannot be reached; look at its cable")
        self.cut = False
        super().__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.left += 1
        super().__exit__(None, None, None)

    def alive(self) -> bool:
        return not self.cut

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        if self.cut or self.refuse:
            raise DeviceError("board: no answer")
        return super()._measure(onnx, batch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "any.onnx"
    path.touch()
    return path


def test_a_board_that_comes_back_in_time(model: Path) -> None:
    board, slept = Board(gone_for=3), list[float]()
    with PatientOracle(board, 3600, sleep=slept.append) as oracle:
        assert oracle.measure(model).energy_mj == 10.0
    assert slept == [RETRY_S] * 3
    assert board.left == 1


def test_one_that_does_not(model: Path) -> None:
    board = Board(gone_for=99)
    with pytest.raises(DeviceError, match="cannot be reached"):
        PatientOracle(board, 0).__enter__()
    assert board.entered == 1


def test_a_cable_that_is_cut_in_the_middle(model: Path) -> None:
    board, said = Board(), list[str]()
    with PatientOracle(board, 3600, said.append, sleep=lambda _: None) as oracle:
        board.cut = True
        assert not oracle.alive()
        board.gone_for = 4
        assert oracle.measure(model).energy_mj == 10.0
        assert oracle.alive()
    assert board.entered == 5
    assert said == ["board: no answer; waiting for it, 3600 s at most"]


def test_one_that_stays_away_may_be_asked_again(model: Path) -> None:
    board = Board()
    with PatientOracle(board, 0) as oracle:
        board.cut, board.gone_for = True, 2
        with pytest.raises(DeviceError, match="cannot be reached"):
            oracle.measure(model)
        assert oracle.measure(model).energy_mj == 10.0


def test_one_that_stays_away_is_waited_for_once(model: Path) -> None:
    """However many networks there are; and anew after it was there in between."""
    board, waits = Board(), list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds)

    with PatientOracle(board, 0.05, sleep=sleep) as oracle:
        for _ in range(2):
            board.cut, board.gone_for = True, 10**9
            waits.clear()
            with pytest.raises(DeviceError, match="cannot be reached"):
                oracle.measure(model)
            assert waits
            waits.clear()
            with pytest.raises(DeviceError, match="cannot be reached"):
                oracle.measure(model)
            assert not waits
            board.gone_for = 0
            assert oracle.measure(model).energy_mj == 10.0
        board.cut, board.gone_for = True, 10**9
        with pytest.raises(DeviceError, match="cannot be reached"):
            oracle.measure(model)
    board.gone_for = board.entered + 1
    waits.clear()
    with oracle:
        assert waits


def test_what_fails_while_the_board_is_there_is_the_networks_fault(model: Path) -> None:
    board = Board()
    with PatientOracle(board, 3600) as oracle:
        board.refuse = True
        with pytest.raises(DeviceError, match="no answer"):
            oracle.measure(model)
    assert board.entered == 1


def test_one_that_is_left_while_it_measures_is_not_taken_again(model: Path) -> None:
    """As by Ctrl-C, while a thread of a pool waits for the board: the lease is given back, and stays so."""
    board = Board()
    oracle = PatientOracle(board, 3600, sleep=lambda _: None)

    def interrupted(onnx: Path, batch: int) -> Measurement:
        board.cut = True
        oracle.__exit__(None, None, None)
        raise DeviceError("board: its job was cancelled")

    board._measure = interrupted  # type: ignore[method-assign]
    with oracle, pytest.raises(DeviceError, match="its job was cancelled"):
        oracle.measure(model)
    assert (board.entered, board.left) == (1, 1)
