"""A run with boards in the loop: there, killed in the middle, and not there at all."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from edgesynth_agent.run_trace import recompute
from edgesynth_exporters.targets import models_folder

from edgesynth.cli.verdict import exit_code
from edgesynth.devices import EstimateOracle, FakeOracle
from edgesynth.devices.measured import Measurements, default_database
from edgesynth.devices.screen import Residual
from edgesynth.energy.calibrate import calibrate
from edgesynth.energy.estimate import estimate
from edgesynth.records import Measurement, Results, Source
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.judging import ask_again
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.question import Question
from edgesynth.synthesis.results import _warnings
from edgesynth.synthesis.run import own_networks, record_own, synthesize
from edgesynth.synthesis.scoring import is_proof
from edgesynth.synthesis.workshop import Workshop, _patience
from tests.devices.played import played_tx2
from tests.energy.measurements import campaign, chain
from tests.report.made_up import made_up_run, on_board


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
    prototype, _ = results.prototype.measurements
    assert (prototype.target, prototype.source) == ("tx2", "simulated")
    for network in results.networks:
        record, _ = network.measurements
        assert record.source == "simulated"
        assert record.latency_ms is not None
        assert prototype.latency_ms is not None
        met = record.latency_ms.mean <= 0.95 * prototype.latency_ms.mean
        assert network.requirements == {"latency_ms@tx2<=0.95*prototype": met}
    assert "the figures of tx2 are simulated: they prove nothing about a real one" in results.warnings
    with Journal.open(tmp_path / "run") as journal:
        residuals = journal.all("residual")
        settled = journal.all("settled")[0]
    # Of the candidates of the choice one at least was measured before it was made.
    known = {record.latency_ms.mean for _, record in Measurements(default_database()).all("tx2") if record.latency_ms}
    assert known & {figures["latency_ms@tx2"] for figures in settled.values()}
    # Three candidates, and whatever was measured for the record.
    assert len(residuals) <= 3 + 1 + len(results.networks)
    assert len(Measurements(default_database()).all("tx2")) <= len(residuals)
    for subject in (results.prototype, *results.networks):
        check_trace_and_model(tmp_path / "run", *subject.measurements)
    models = [subject.measurements[1].layers or [] for subject in (results.prototype, *results.networks)]
    names = [[cost.layer for cost in layers] for layers in models]
    assert names[0][0] == "stem.0"
    assert all(set(other) <= set(names[0]) for other in names[1:])


def check_trace_and_model(folder: Path, board: Measurement, model: Measurement) -> None:
    """What the board said has its trace in the run, and stands beside what its model says."""
    assert (model.target, model.source, board.layers) == ("tx2-sim", "estimated", None)
    assert model.layers is not None
    assert board.trace is not None
    assert board.measured_unix_s is not None
    assert model.trace is None
    assert board.trace.file == f"traces/{board.trace.sha256}.jsonl.gz"
    path = folder / board.trace.file
    assert hashlib.sha256(path.read_bytes()).hexdigest() == board.trace.sha256
    assert path.stat().st_size == board.trace.bytes
    assert board.latency_ms is not None
    assert recompute(str(path))["latency_ms"] == board.latency_ms.model_dump()


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
        record, model = network.measurements
        assert (record.target, record.source) == ("tx2", "estimated")
        assert (record.layers, model.target) == (None, "tx2-sim")
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
    assert [(m.target, m.source) for m in before.prototype.measurements] == [
        ("tx2", "estimated"),
        ("tx2-sim", "estimated"),
    ]
    assert before.networks[0].requirements == {"latency_ms@tx2<=0.95*prototype": None}
    assert exit_code(before.networks, 1) == 4
    with played_tx2(tmp_path / "late"), Journal.open(tmp_path / "run") as journal:
        after = synthesize(asked, journal, Progress(), wait_s=0)
    assert [m.source for m in after.prototype.measurements] == ["simulated", "estimated"]
    assert None not in after.networks[0].requirements.values()


def test_a_model_of_the_user_that_came_meanwhile_changes_nothing_of_what_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edgesynth calibrate tx2` between a run and its resumption: another model answers for the board from then on, and
    how far off the one before was is no news about it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    network, asked, notes = chain(tmp_path, 2, 0), question(tmp_path, "one"), Killer(None)
    model = estimate(network, "tx2-sim")
    recorded = [model.model_copy(update={"target": "tx2"}), model]
    residual = Residual(features=(0.0, 1.0, 2.0, 3.0), latency=0.1, energy=None)
    with Journal.create(tmp_path / "run", {}) as journal, FakeOracle("tx2", lambda _: (2.0, 10.0)) as board:
        before = _patience(asked, journal, notes, 0)
        before.on_residual("tx2", residual)
        assert list(_patience(asked, journal, notes, 0).residuals["tx2"]) == [residual]
        assert notes.notes == []
        own = models_folder() / "tx2-calibrated.toml"
        own.parent.mkdir(parents=True)
        own.write_text(calibrate("tx2", campaign(tmp_path, 4)).text)
        after = _patience(asked, journal, notes, 0)
        assert after.residuals == {}
        assert notes.notes == ["not learned from, since it was compared with another model: 1 of 1 measurements"]
        after.on_residual("tx2", residual)
        assert list(_patience(asked, journal, notes, 0).residuals["tx2"]) == [residual]
        oracles = {"tx2": board, "tx2-calibrated": EstimateOracle("tx2-calibrated")}
        workshop = SimpleNamespace(oracles=oracles, run=tmp_path, journal=journal, progress=Progress())
        said = ask_again(cast(Workshop, workshop), "digest", network, recorded, asked.parsed())
    assert [(m.target, m.source) for m in said] == [("tx2", "simulated"), ("tx2-sim", "estimated")]
    assert said[1] == model


def test_an_estimate_by_a_model_that_was_deleted_is_no_board_that_said_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run could not be resumed once the model is gone, though docs/estimating.md says: delete it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with FakeOracle("tx2-calibrated", lambda _: (2.0, 10.0)) as oracle:
        record = oracle.measure(chain(tmp_path, 2, 0)).model_copy(update={"source": "estimated"})
    assert is_proof(record)
    assert is_proof(record.model_copy(update={"target": "tx2-sim"}))
    assert not is_proof(record.model_copy(update={"target": "tx2"}))
    assert is_proof(record.model_copy(update={"target": "tx2", "source": "measured"}))


def test_what_is_finished_when_a_run_is_resumed_counts_for_its_exit_code(tmp_path: Path) -> None:
    """The board says that one network of a run that had ended does not meet the bound, and another takes its place."""
    results = made_up_run()
    first, second = (
        n.model_copy(update={"satisfied": met}) for n, met in zip(results.networks, (False, True), strict=False)
    )
    results = results.model_copy(update={"networks": [first, second]})
    with Journal.create(tmp_path / "run", {}) as journal:
        assert own_networks(journal, results) == []
        record_own(journal, [first])
        assert own_networks(journal, results) == [first]
        for _ in range(2):  # once more, with nothing new
            record_own(journal, [second])
            assert own_networks(journal, results) == [first, second]
    assert exit_code([first, second], 1) == 0


def test_a_prototype_that_no_board_measured_is_told_too() -> None:
    """A bound relative to it has no verdict then, though every network was measured."""
    results = made_up_run()
    measured = [n.model_copy(update={"measurements": [on_board(2.0, 8.0)]}) for n in results.networks]
    asked = question(Path("/nowhere"), "one")

    def warnings(source: Source) -> str:
        prototype = results.prototype.model_copy(update={"measurements": [on_board(2.0, 8.0, source)]})
        return "; ".join(_warnings(asked, [prototype, *measured]))

    assert "unverified" not in warnings("measured")
    assert "unverified: not every network was measured on tx2" in warnings("estimated")
    assert "the figures of tx2 are simulated" in warnings("simulated")
