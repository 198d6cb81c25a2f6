"""From addresses to who answers."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from edgesynth.devices import EstimateOracle, HostOracle, Patience, open_answering, open_device, parse_addresses
from edgesynth.devices.measured import Measurements, default_database
from edgesynth.devices.screen import Residual
from edgesynth.devices.traces import default_traces
from edgesynth.errors import DeviceError, EdgesynthError
from tests.agent.models import save_conv
from tests.devices.played import played_tx2


@pytest.fixture(autouse=True)
def own_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [save_conv(tmp_path / f"{size}.onnx", batch=1, size=size) for size in (8, 24, 64)]


def test_addresses_by_target_those_of_requirements_among_them() -> None:
    found = parse_addresses(["host", "tx2@ssh://a", "tx2@ssh://b", "host"], ["tx2", "tx2-sim"])
    assert {name: [a.text for a in places] for name, places in found.items()} == {
        "host": ["host"],
        "tx2": ["tx2@ssh://a", "tx2@ssh://b"],
        "tx2-sim": ["tx2-sim"],
    }


@pytest.mark.parametrize(
    ("texts", "needed", "said"),
    [
        (["host"], ["tx2"], "tx2 is a board, say where it is"),
        (["tx3"], [], "tx3"),
        (["thor@ssh://a"], [], "thor has no model to choose candidates with.*calibrate"),
    ],
)
def test_what_cannot_be_asked(texts: list[str], needed: list[str], said: str) -> None:
    with pytest.raises(EdgesynthError, match=said):
        parse_addresses(texts, needed)


def test_a_model_and_this_machine() -> None:
    with open_answering(parse_addresses(["host", "tx2-sim"], []), ["tx2-sim"], Patience()) as answering:
        assert [type(oracle) for oracle in answering.record.values()] == [HostOracle, EstimateOracle]
        assert list(answering.screens) == ["tx2-sim"]


def test_boards_screen_and_verify_and_nothing_is_measured_twice(tmp_path: Path, models: list[Path]) -> None:
    told: list[tuple[str, Residual]] = []
    places = [f"tx2@unix://{tmp_path / name}/agent.sock" for name in ("one", "two")]
    with played_tx2(tmp_path / "one"), played_tx2(tmp_path / "two"):
        patience = Patience(measure=4, wait_s=0, on_residual=lambda target, residual: told.append((target, residual)))
        with open_answering(parse_addresses(places, []), ["tx2"], patience) as answering:
            answers = answering.screens["tx2"].try_many(models)
            verified = answering.record["tx2"].measure(models[0])
        sources = [answer.source for answer in answers if not isinstance(answer, DeviceError)]
        assert sorted(sources) == ["estimated", "simulated", "simulated"]
        assert verified.source == "simulated"
        assert verified.trace is not None
        assert default_traces().content(verified.trace)
        assert {target for target, _ in told} == {"tx2"}
        kept = Measurements(default_database()).all("tx2")
        with open_answering(parse_addresses(places[:1], []), [], Patience(wait_s=0)) as answering:
            for path in models:
                answering.record["tx2"].measure(path)
        assert len(Measurements(default_database()).all("tx2")) <= len(kept) + 2
        with open_answering(parse_addresses(places[:1], []), [], Patience(wait_s=0)) as answering:
            again = [answering.record["tx2"].measure(path) for path in models]
            before = Measurements(default_database()).all("tx2")
        assert all(record in [kept_record for _, kept_record in before] for record in again)


def test_an_agent_that_was_started_anew_measures_on(tmp_path: Path, models: list[Path]) -> None:
    """It knows nothing of the lease that it gave before; that is not the fault of the networks that come next."""
    addresses = parse_addresses([f"tx2@unix://{tmp_path}/one/agent.sock"], [])
    with ExitStack() as stack:
        first = stack.enter_context(played_tx2(tmp_path / "one"))
        answering = stack.enter_context(open_answering(addresses, [], Patience(wait_s=10)))
        assert answering.record["tx2"].measure(models[0]).source == "simulated"
        first.process.terminate()
        first.process.wait()
        stack.enter_context(played_tx2(tmp_path / "one"))
        assert answering.record["tx2"].measure(models[1]).source == "simulated"


def test_a_board_that_is_not_there_leaves_estimates_that_say_so(tmp_path: Path, models: list[Path]) -> None:
    addresses = parse_addresses([f"tx2@unix://{tmp_path}/none.sock"], [])
    with open_answering(addresses, ["tx2"], Patience(wait_s=0)) as answering:
        record = answering.record["tx2"].measure(models[0])
    assert (record.source, record.target) == ("estimated", "tx2")
    assert record.warnings[0].startswith("unverified: tx2 did not measure it: no tx2 answers: tx2@unix://")
    assert record.energy_mj is not None


def test_a_board_has_its_model_beside_it(tmp_path: Path, models: list[Path]) -> None:
    place = f"tx2@unix://{tmp_path}/none.sock"
    with open_answering(parse_addresses([place, "host"], []), [], Patience(wait_s=0)) as answering:
        assert list(answering.record) == ["tx2", "host", "tx2-sim"]
        assert list(answering.screens) == ["tx2"]
        raw = answering.record["tx2-sim"].measure(models[0])
        assert (raw.target, raw.source) == ("tx2-sim", "estimated")
    with open_answering(parse_addresses(["tx2-sim", place], []), [], Patience(wait_s=0)) as answering:
        assert list(answering.record) == ["tx2-sim", "tx2"]


def test_a_device_by_its_address(tmp_path: Path, models: list[Path]) -> None:
    with played_tx2(tmp_path / "one"), open_device(f"tx2@unix://{tmp_path}/one/agent.sock") as oracle:
        record = oracle.measure(models[0])
    assert (record.source, record.target) == ("simulated", "tx2")
    with pytest.raises(EdgesynthError, match="tx2-sim is a model, not a device: ask edgesynth estimate"):
        open_device("tx2-sim")
