"""Few measurements that set a model right."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgesynth.devices import FakeOracle, Oracle
from edgesynth.devices.pool import PoolOracle
from edgesynth.devices.screen import PATIENCE, Residual, ScreeningOracle
from edgesynth.errors import DeviceError
from edgesynth.records import Engine, Latency, Measurement


class Model(Oracle):
    """An estimate from the figures that the file names: 1 ms and 0.05 ms a kernel, 5 mJ a millisecond."""

    target = "tx2-sim"

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        network = json.loads(onnx.read_text())
        latency_ms = 1 + 0.05 * network["kernels"]
        return Measurement(
            schema="edgesynth.measurement/1",
            target=self.target,
            source="estimated",
            device={},
            engine=Engine(backend="model", version="1", precision="fp16", batch=batch, flags=network),
            windows=[],
            idle_power_w=3.0,
            power_w=5.0,
            latency_ms=Latency(mean=latency_ms, p50=None, p90=None, p99=None),
            energy_mj=5 * latency_ms,
            inferences_per_joule=200 / latency_ms,
            ci95={"latency_ms": (1.0, 9.0)},
            warnings=["a model"],
        )


def truth(onnx: Path) -> tuple[float, float]:
    """The board: a third of the fixed time, more for large networks, other power."""
    network = json.loads(onnx.read_text())
    latency_ms = 0.3 + 0.06 * network["kernels"] + 4e-8 * network["macs"]
    return latency_ms, 4.2 * latency_ms + 2e-8 * network["macs"]


def candidates(folder: Path, count: int) -> list[Path]:
    chance = random.Random(0)
    paths = []
    for index in range(count):
        macs = math.exp(chance.uniform(math.log(1e6), math.log(3e7)))
        network = {"kernels": chance.randint(10, 30), "macs": macs, "params": macs / 100 * chance.uniform(0.5, 2)}
        paths.append(folder / f"{index}.onnx")
        paths[-1].write_text(json.dumps(network))
    return paths


def energy_of(measurement: Measurement) -> float:
    assert measurement.energy_mj is not None
    return measurement.energy_mj


def test_a_tenth_is_measured_and_the_rest_is_right(tmp_path: Path) -> None:
    paths = candidates(tmp_path, 150)
    board = FakeOracle("tx2", truth)
    with ScreeningOracle(Model(), board, budget=30) as screen:
        answers = [screen.measure(path) for path in paths]
    # Half of it is kept for the choice.
    assert len(board.asked) == screen.measured <= 15
    later = slice(50, None)
    errors = [
        abs(energy_of(answer) / truth(path)[1] - 1) for path, answer in zip(paths[later], answers[later], strict=True)
    ]
    raw = [abs(energy_of(Model().__enter__().measure(path)) / truth(path)[1] - 1) for path in paths[later]]
    assert np.median(errors) < 0.02
    assert np.median(raw) > 0.1
    assert {answer.target for answer in answers} == {"tx2"}
    assert {answer.source for answer in answers} == {"simulated", "estimated"}


def test_of_many_at_once_the_least_certain_are_measured_side_by_side(tmp_path: Path) -> None:
    paths = candidates(tmp_path, 100)
    boards = [FakeOracle("tx2", truth) for _ in range(4)]
    with ScreeningOracle(Model(), PoolOracle(boards), budget=20) as screen:
        answers = screen.try_many(paths)
    asked = [path for board in boards for path, _ in board.asked]
    assert len(asked) == len(set(asked)) == screen.measured <= 10
    errors = []
    for path, answer in zip(paths, answers, strict=True):
        assert isinstance(answer, Measurement)
        assert (answer.source == "simulated") == (path in asked)
        errors.append(abs(energy_of(answer) / truth(path)[1] - 1))
    assert np.median(errors) < 0.02


def by_energy(records: Sequence[Measurement]) -> list[int]:
    return sorted(range(len(records)), key=lambda index: energy_of(records[index]))


def test_of_a_choice_those_are_measured_that_would_be_taken(tmp_path: Path) -> None:
    """However wrong the model is about them: neither is one taken that it flatters, nor the best passed over."""
    paths = candidates(tmp_path, 100)
    board = FakeOracle("tx2", truth)
    with ScreeningOracle(Model(), board, budget=16) as screen:
        screen.try_many(paths[:8])
        searching = len(board.asked)
        records = screen.settle(paths, by_energy, first=3)
    taken = [paths[index] for index in by_energy(records)[:3]]
    asked = [path for path, _ in board.asked]
    assert searching <= 8
    assert set(taken) <= set(asked)
    assert len(asked) == len(set(asked)) <= 16
    best = sorted(paths, key=lambda path: truth(path)[1])[:3]
    assert sum(truth(path)[1] for path in taken) <= 1.02 * sum(truth(path)[1] for path in best)


def test_a_choice_is_free_where_nothing_may_be_measured(tmp_path: Path) -> None:
    paths = candidates(tmp_path, 10)
    board = FakeOracle("tx2", truth)
    with ScreeningOracle(Model(), board, budget=0) as screen:
        records = screen.settle(paths, by_energy, first=3)
    assert board.asked == []
    assert {record.source for record in records} == {"estimated"}
    assert [energy_of(record) for record in records] == [energy_of(Model().__enter__().measure(p)) for p in paths]


@pytest.mark.parametrize("fails", ["one", "all"])
def test_what_fails_in_a_choice_is_passed_over(tmp_path: Path, fails: str) -> None:
    paths = candidates(tmp_path, 20)
    best = min(paths, key=lambda path: truth(path)[1])

    class Fragile(FakeOracle):
        def _measure(self, onnx: Path, batch: int) -> Measurement:
            measured = super()._measure(onnx, batch)
            if fails == "all" or onnx == best:
                raise DeviceError(f"{onnx.name} cannot be built")
            return measured

    board = Fragile("tx2", truth)
    with ScreeningOracle(Model(), board, budget=40) as screen:
        records = screen.settle(paths, by_energy, first=1)
    assert len(records) == 20
    asked = [path for path, _ in board.asked]
    assert asked.count(best) <= 1
    if fails == "one":  # the next is looked at all the same
        assert next(paths[index] for index in by_energy(records) if paths[index] != best) in asked
    assert len(asked) <= (PATIENCE if fails == "all" else 20)


def test_what_a_database_says_again_counts_once(tmp_path: Path) -> None:
    (path,) = candidates(tmp_path, 1)
    told: list[Residual] = []
    with ScreeningOracle(Model(), FakeOracle("tx2", truth), 10, on_residual=told.append) as screen:
        for _ in range(3):
            assert screen.verify(path).source == "simulated"
        (record,) = screen.settle([path], by_energy)
    assert record.source == "simulated"
    assert len(told) == 1


def test_what_is_measured_for_the_record_leaves_the_candidates_theirs(tmp_path: Path) -> None:
    paths = candidates(tmp_path, 40)
    board = FakeOracle("tx2", truth)
    with ScreeningOracle(Model(), board, budget=4) as screen:
        verified = [screen.verify(path) for path in paths[:6]]
        assert screen.measured == 0
        screen.try_many(paths[6:])
        assert screen.measured > 0
    assert {record.source for record in verified} == {"simulated"}
    assert len(board.asked) == 6 + screen.measured <= 10


def test_what_is_known_well_is_not_measured_again(tmp_path: Path) -> None:
    (path,) = candidates(tmp_path, 1)
    board = FakeOracle("tx2", truth)
    with ScreeningOracle(Model(), board, budget=10) as screen:
        answers = [screen.measure(path) for _ in range(6)]
    assert len(board.asked) < 4
    assert answers[-1].source == "estimated"
    assert energy_of(answers[-1]) == pytest.approx(truth(path)[1], rel=0.02)
    assert answers[-1].ci95 == {"latency_ms": None}


def test_another_process_goes_on_with_what_was_learned(tmp_path: Path) -> None:
    paths = candidates(tmp_path, 12)
    told: list[Residual] = []
    with ScreeningOracle(Model(), FakeOracle("tx2", truth), 12, on_residual=told.append) as screen:
        for path in paths[:10]:
            screen.measure(path)
    board = FakeOracle("tx2", truth)
    with ScreeningOracle(Model(), board, budget=len(told), residuals=told) as screen:
        answer = screen.measure(paths[11])
    assert board.asked == []
    assert energy_of(answer) == pytest.approx(truth(paths[11])[1], rel=0.1)


class Broken(FakeOracle):
    """A board that stops answering."""

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        super()._measure(onnx, batch)
        raise DeviceError("the cable is cut; mend it")


class Absent(FakeOracle):
    """A board that cannot be reached at all."""

    def __enter__(self) -> "Absent":
        raise DeviceError("no route to the board; look at its cable")


@pytest.mark.parametrize(("kind", "asked"), [(Broken, PATIENCE), (Absent, 0)])
def test_a_board_that_fails_is_left_alone_and_the_estimate_stands(
    tmp_path: Path, kind: type[FakeOracle], asked: int
) -> None:
    board = kind("tx2", truth)
    with ScreeningOracle(Model(), board, budget=50) as screen:
        answers = [screen.measure(path) for path in candidates(tmp_path, 8)]
    assert len(board.asked) == asked
    assert {answer.source for answer in answers} == {"estimated"}
    assert any("tx2 did not answer" in text and "cable" in text for text in answers[-1].warnings)
    assert energy_of(answers[0]) == pytest.approx(energy_of(Model().__enter__().measure(tmp_path / "0.onnx")))


def test_a_board_without_joules_sets_energy_right_by_its_latency(tmp_path: Path) -> None:
    board = FakeOracle("tx2", lambda onnx: (2 * (1 + 0.05 * json.loads(onnx.read_text())["kernels"]), None))
    paths = candidates(tmp_path, 30)
    with ScreeningOracle(Model(), board, budget=5) as screen:
        answers = [screen.measure(path) for path in paths]
    last = answers[-1]
    assert last.latency_ms is not None
    assert last.latency_ms.mean == pytest.approx(board._figures(paths[-1])[0], rel=0.02)
    assert energy_of(last) == pytest.approx(5 * last.latency_ms.mean, rel=0.02)
