"""Two networks in turns on one device."""

import math
import random
from pathlib import Path

import pytest

from edgesynth.devices import FakeOracle
from edgesynth.devices.comparison import Comparison, compare
from edgesynth.errors import DeviceError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    first.touch()
    second.touch()
    return first, second


class Drifting:
    """Latency grows with every measurement; the second network takes `ratio` times the first's time and energy."""

    def __init__(self, ratio: float, growth: float = 1.0, noise: float = 0.0) -> None:
        self.ratio, self.growth, self.noise = ratio, growth, noise
        self.taken = 0
        self.random = random.Random(0)

    def __call__(self, onnx: Path) -> tuple[float, float | None]:
        drift = self.growth**self.taken * math.exp(self.random.gauss(0, self.noise))
        self.taken += 1
        factor = self.ratio if onnx.name == "second.onnx" else 1.0
        return 2.0 * factor * drift, 10.0 * factor * drift


def test_what_drifts_evenly_cancels(files: tuple[Path, Path]) -> None:
    with FakeOracle("tx2", Drifting(0.8, growth=1.05)) as oracle:
        found = compare(oracle, *files, rounds=2)
    assert [path.name for path, _ in oracle.asked] == [f"{n}.onnx" for n in ("first", "second", "second", "first") * 2]
    for name, expected in (("latency_ms", 0.8), ("energy_mj", 0.8), ("inferences_per_joule", 1.25)):
        ratio = found.ratios[name]
        assert ratio is not None
        assert ratio.ratio == pytest.approx(expected)
        assert ratio.ci95 == pytest.approx((expected, expected))
    assert Comparison.model_validate_json(found.model_dump_json(by_alias=True)) == found


def test_the_interval_holds_the_truth_as_often_as_it_says(files: tuple[Path, Path]) -> None:
    held, noise = 0, Drifting(1.1, noise=0.05)
    with FakeOracle("tx2", noise) as oracle:
        for _ in range(300):
            ratio = compare(oracle, *files, rounds=3).ratios["latency_ms"]
            assert ratio is not None
            held += ratio.ci95[0] <= 1.1 <= ratio.ci95[1]
    assert 0.91 <= held / 300 <= 0.99


def test_a_round_that_fails_costs_itself_alone(files: tuple[Path, Path]) -> None:
    def figures(_: Path) -> tuple[float, float | None]:
        if len(oracle.asked) == 11:
            raise DeviceError("board: the cable is out")
        return 2.0, 10.0

    with FakeOracle("tx2", figures) as oracle:
        found = compare(oracle, *files, rounds=5)
    assert len(found.rounds) == 2
    assert found.warnings[0] == "round 3 of 5 failed, the figures are those before it: board: the cable is out"
    assert found.ratios["energy_mj"] is not None


def test_without_two_rounds_there_is_no_comparison(files: tuple[Path, Path]) -> None:
    def figures(_: Path) -> tuple[float, float | None]:
        if len(oracle.asked) == 6:
            raise DeviceError("board: the cable is out")
        return 2.0, 10.0

    with FakeOracle("tx2", figures) as oracle, pytest.raises(DeviceError, match="cable"):
        compare(oracle, *files, rounds=5)


def test_unknown_energy_has_no_ratio(files: tuple[Path, Path]) -> None:
    with FakeOracle("host", lambda _: (1.0, None)) as oracle:
        found = compare(oracle, *files, rounds=2)
    assert found.ratios["energy_mj"] is None
    assert found.ratios["latency_ms"] is not None
    assert "energy_mj cannot be compared: a measurement lacks it" in found.warnings
    assert "energy is unknown to it" in found.warnings


def test_one_round_has_no_interval(files: tuple[Path, Path]) -> None:
    with FakeOracle("tx2", Drifting(1.0)) as oracle, pytest.raises(ValueError, match="two rounds"):
        compare(oracle, *files, rounds=1)
