"""What boards are asked again when a run is resumed, and what for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgesynth.devices import FakeOracle
from edgesynth.records import Measurement
from edgesynth.requirements import parse_requirements
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.judging import ask_again
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.workshop import Workshop

JOULES = parse_requirements(["inferences_per_joule@tx2>=100"])
LATENCY = parse_requirements(["latency_ms@tx2<=3"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").touch()
    return tmp_path / "model.onnx"


def said(file: Path, energy_mj: float | None, source: str = "simulated") -> Measurement:
    with FakeOracle("tx2", lambda _: (2.0, energy_mj)) as oracle:
        return oracle.measure(file).model_copy(update={"source": source})


def asked(tmp_path: Path, file: Path, before: Measurement, requirements: Any, now_mj: float | None) -> tuple[Any, int]:
    """What is known after asking again, and how often the board was asked."""
    with FakeOracle("tx2", lambda _: (1.5, now_mj)) as oracle, Journal.create(tmp_path / "run", {}) as journal:
        workshop = SimpleNamespace(oracles={"tx2": oracle}, journal=journal, run=tmp_path, progress=Progress())
        (known,) = ask_again(cast("Workshop", workshop), "prototype", file, [before], requirements)
        return known, len(oracle.asked)


def test_an_estimate_in_the_board_s_place(tmp_path: Path, file: Path) -> None:
    known, times = asked(tmp_path, file, said(file, 5.0, "estimated"), LATENCY, 4.0)
    assert (known.source, known.energy_mj, times) == ("simulated", 4.0, 1)


def test_joules_that_were_not_told_and_are_wanted(tmp_path: Path, file: Path) -> None:
    known, times = asked(tmp_path, file, said(file, None), JOULES, 4.0)
    assert (known.energy_mj, times) == (4.0, 1)


def test_joules_that_are_not_told_again_leave_all_as_it_was(tmp_path: Path, file: Path) -> None:
    before = said(file, None)
    known, times = asked(tmp_path, file, before, JOULES, None)
    assert (known, times) == (before, 1)


@pytest.mark.parametrize(("energy_mj", "requirements"), [(None, LATENCY), (5.0, JOULES)])
def test_what_is_known_is_not_asked(tmp_path: Path, file: Path, energy_mj: float | None, requirements: Any) -> None:
    before = said(file, energy_mj)
    assert asked(tmp_path, file, before, requirements, 4.0) == (before, 0)
