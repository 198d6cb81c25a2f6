"""A run with boards in the loop: there, killed in the middle, and not there at all."""

from pathlib import Path

import pytest

from edgesynth.cli.verdict import exit_code
from edgesynth.devices.measured import Measurements, default_database
from edgesynth.records import Results
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.question import Question
from edgesynth.synthesis.run import synthesize
from tests.devices.played import played_tx2


@pytest.fixture(autouse=True)
def own_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def question(folder: Path, *boards: str) -> Question:
    return Question(
        data="digits",
        prototype="resnet8",
        requirements=("latency_ms@tx2<=0.95*prototype",),
        targets=tuple(f"tx2@unix://{folder}/{board}/agent.sock" for board in boards),
        count=1,
        epochs=1,
        cycles=2,
        train_images=400,
        measure=3,
    )


def run(folder: Path, asked: Question, progress: Progress | None = None) -> Results:
    with Journal.create(folder / "run", asked.model_dump(mode="json")) as journal:
        return synthesize(asked, journal, progress or Progress(), wait_s=0)


def test_a_board_that_answers_decides(tmp_path: Path) -> None:
    with played_tx2(tmp_path / "one"):
        results = run(tmp_path, question(tmp_path, "one"))
    (prototype,) = results.prototype.measurements
    assert (prototype.target, prototype.source) == ("tx2", "simulated")
    for network in results.networks:
        (record,) = network.measurements
        assert record.source == "simulated"
        assert record.latency_ms is not None
        assert prototype.latency_ms is not None
        met = record.latency_ms.mean <= 0.95 * prototype.latency_ms.mean
        assert network.requirements == {"latency_ms@tx2<=0.95*prototype": met}
    assert "the figures of tx2 are simulated: they prove nothing about a real one" in results.warnings
    with Journal.open(tmp_path / "run") as journal:
        residuals = journal.all("residual")
    # Three candidates, and whatever was measured for the record.
    assert len(residuals) <= 3 + 1 + len(results.networks)
    assert len(Measurements(default_database()).all("tx2")) <= len(residuals)


class Killer(Progress):
    """Kills the board once learning has begun."""

    def __init__(self, kill: object) -> None:
        super().__init__()
        self.kill = kill
        self.notes: list[str] = []

    def work(self, name: str) -> None:
        super().work(name)
        if name == "learning":
            self.kill.process.kill()  # type: ignore[attr-defined]

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_board_killed_in_the_middle_leaves_a_run_unverified_until_it_is_resumed(tmp_path: Path) -> None:
    asked = question(tmp_path, "one")
    with played_tx2(tmp_path / "one") as board:
        results = run(tmp_path, asked, Killer(board))
    assert results.networks
    for network in results.networks:
        (record,) = network.measurements
        assert (record.target, record.source) == ("tx2", "estimated")
        assert record.warnings[0].startswith("unverified: tx2 did not measure it")
        assert network.requirements == {"latency_ms@tx2<=0.95*prototype": None}
        assert not network.satisfied
    assert exit_code(results.networks, 1) == 4
    assert any(text.startswith("unverified: not every network was measured on tx2") for text in results.warnings)
    with played_tx2(tmp_path / "one"), Journal.open(tmp_path / "run") as journal:
        after = synthesize(asked, journal, Progress(), wait_s=0)
    assert {network.genome_digest for network in results.networks} <= {n.genome_digest for n in after.networks}
    for network in after.networks:
        assert network.measurements[0].source == "simulated"
        assert None not in network.requirements.values()
    assert exit_code(after.networks, 1) == (0 if any(network.satisfied for network in after.networks) else 1)
    assert not any(text.startswith("unverified") for text in after.warnings)
    with Journal.open(tmp_path / "run") as journal:  # and it stays known, with no board at all
        assert synthesize(asked, journal, Progress(), wait_s=0) == after


def test_of_two_boards_one_is_pulled_and_nothing_is_lost(tmp_path: Path) -> None:
    with played_tx2(tmp_path / "one") as board, played_tx2(tmp_path / "two"):
        results = run(tmp_path, question(tmp_path, "one", "two"), Killer(board))
    for network in results.networks:
        assert network.measurements[0].source == "simulated"
        assert None not in network.requirements.values()


def test_a_board_that_was_not_there_comes_when_the_run_is_resumed(tmp_path: Path) -> None:
    """Until then the run goes by the model alone, and claims nothing, also not of the prototype."""
    asked = question(tmp_path, "late")
    before = run(tmp_path, asked)
    assert [m.source for m in before.prototype.measurements] == ["estimated"]
    assert before.networks[0].requirements == {"latency_ms@tx2<=0.95*prototype": None}
    assert exit_code(before.networks, 1) == 4
    with played_tx2(tmp_path / "late"), Journal.open(tmp_path / "run") as journal:
        after = synthesize(asked, journal, Progress(), wait_s=0)
    assert [m.source for m in after.prototype.measurements] == ["simulated"]
    assert None not in after.networks[0].requirements.values()
