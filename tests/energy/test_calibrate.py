"""A board's model refitted on measurements, and used from then on."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from edgesynth_exporters.targets import all_targets, find_target, model_of, models_folder
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.cli.main import run
from edgesynth.energy.calibrate import calibrate
from edgesynth.energy.constants import calibration, calibration_of
from edgesynth.energy.estimate import estimate
from edgesynth.energy.measured_network import kernels_in, with_network
from edgesynth.energy.measured_rows import documents_in
from edgesynth.errors import EdgesynthError
from edgesynth.records import Measurement
from tests.energy.graphs import conv, save
from tests.energy.measurements import as_if, campaign, chain, measured, other_board


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("EDGESYNTH_TARGETS", raising=False)


def test_it_finds_the_board_that_was_measured(tmp_path: Path) -> None:
    found = calibrate("tx2", campaign(tmp_path))
    board = other_board()
    assert found.constants["launch_us"] == pytest.approx(40, rel=0.05)
    assert found.constants["overhead_ms"] == pytest.approx(0.15, rel=0.4)
    assert found.constants["active_power_w"] == pytest.approx(2, rel=0.1)
    assert (found.rows, found.networks, found.skipped) == (6, 6, [])
    assert found.latency.median < 0.05 < found.latency_before.median
    assert found.energy is not None and found.energy_before is not None
    assert found.energy.median < 0.05 < found.energy_before.median
    assert found.better and found.latency.spearman == pytest.approx(1)
    path = tmp_path / "mine.toml"
    path.write_text(found.text)
    written = calibration(path)
    assert written.constants.launch_us == pytest.approx(board.constants.launch_us, rel=0.05)
    low_ms, high_ms = written.overhead_range_ms
    assert low_ms < 0.15 < high_ms
    assert "fitted on what agents measured" in written.overhead_source


def test_a_network_measured_twice_is_left_out_as_one(tmp_path: Path) -> None:
    lines = campaign(tmp_path, 4)
    found = calibrate("tx2", [*lines, *lines])
    assert (found.rows, found.networks) == (8, 4)


def test_lines_that_are_of_no_use_are_told_by_number(tmp_path: Path) -> None:
    lines = campaign(tmp_path, 4)
    record = Measurement.model_validate_json(lines[0])
    useless = [
        "{",
        '{"schema": "edgesynth.results/1"}',
        record.model_copy(update={"source": "simulated"}).model_dump_json(),
        record.model_copy(update={"target": "nano"}).model_dump_json(),
        record.model_copy(update={"network": None}).model_dump_json(),
        record.model_copy(update={"latency_ms": None}).model_dump_json(),
        record.model_copy(update={"energy_mj": 0.0}).model_dump_json(),
        record.model_copy(update={"engine": record.engine.model_copy(update={"precision": "int8"})}).model_dump_json(),
        lines[0].replace('"kind":"convolution"', '"kind":"magic"'),
        on_the_processor(record).model_dump_json(),
        re.sub(r'"macs":\d+', '"macs":-1000000000000', lines[0]),
        re.sub(r'"macs":\d+', f'"macs":{10**400}', lines[0]),
        record.model_copy(update={"conditions": {"gpu_mhz": {"settled": -3.0}}}).model_dump_json(),
        record.model_copy(update={"conditions": {"gpu_mhz": {"settled": [1]}}}).model_dump_json(),
        record.model_copy(update={"conditions": {"before": {"power_mode": "MAXN"}}}).model_dump_json(),
        "",
    ]
    found = calibrate("tx2", [*useless, *lines])
    reasons = [
        "not an edgesynth.measurement/1 document",
        "not an edgesynth.measurement/1 document",
        "it is simulated, not measured",
        "it is of nano, not of tx2",
        "it holds no kernels of its network",
        "it has no latency",
        "its energy is not positive",
        "the model knows no int8",
        "unknown kind 'magic'",
        "ONNX Runtime computed it on the processor",
        "an impossible number of macs",
        "an impossible number of macs",
        "its GPU's clock is -3.0",
        "its GPU's clock is [1]",
        "its power_mode is none that an agent tells",
    ]
    assert [skipped.line for skipped in found.skipped] == list(range(1, len(reasons) + 1))
    for skipped, reason in zip(found.skipped, reasons, strict=True):
        assert reason in skipped.reason
    assert found.rows == 4


def on_the_processor(record: Measurement) -> Measurement:
    return record.model_copy(update={"engine": record.engine.model_copy(update={"backend": "onnxruntime"})})


def test_an_architecture_with_other_weights_is_no_other_network(tmp_path: Path) -> None:
    """Else a model that has seen a network in the fit would be tried on it, and come out too well."""
    records = [Measurement.model_validate_json(line) for line in campaign(tmp_path, 4)]
    others = [
        record.model_copy(update={"network": record.network.model_copy(update={"sha256": "0" * 64})})
        for record in records
        if record.network is not None
    ]
    found = calibrate("tx2", [record.model_dump_json() for record in [*records, *others]])
    assert (found.rows, found.networks) == (8, 4)


def test_simulated_figures_count_where_they_are_wanted(tmp_path: Path) -> None:
    lines = campaign(tmp_path, 4, source="simulated")
    with pytest.raises(
        EdgesynthError, match=r"0 networks on tx2 are not enough.*4 lines were left out, line 1 because"
    ):
        calibrate("tx2", lines)
    found = calibrate("tx2", lines, simulated=True)
    assert found.rows == 4
    path = tmp_path / "played.toml"
    path.write_text(found.text)
    assert find_target(str(path)).description == "model of tx2, fitted on 4 simulated networks"
    record = estimate(chain(tmp_path, 3, 1), str(path))
    assert record.engine.version.startswith("played/4 simulated figures")
    assert any("fitted on what agents simulated" in each for each in record.warnings)
    both = calibrate("tx2", [*lines, *campaign(tmp_path, 4)], simulated=True)
    assert "4 measured and simulated networks" in both.text


def test_without_joules_latency_alone_is_refitted(tmp_path: Path) -> None:
    found = calibrate("tx2", campaign(tmp_path, 4, energy_mj=None))
    assert found.energy is None and found.energy_before is None
    path = tmp_path / "mine.toml"
    path.write_text(found.text)
    mine, shipped = calibration(path), calibration_of("tx2-sim")
    assert mine.power == shipped.power and mine.constants != shipped.constants
    assert (mine.energy_rms, mine.energy_kernels_range) == (shipped.energy_rms, shipped.energy_kernels_range)
    assert "that of tx2-sim: 0 networks with joules are too few to refit it on" in found.text
    record = estimate(chain(tmp_path, 3, 1), str(path))
    assert record.energy_mj is not None and record.latency_ms is not None


def test_power_that_is_worse_for_refitting_is_kept(tmp_path: Path) -> None:
    """Two sensors in six that told too much pull the fit away from the four others."""
    board = replace(other_board(), power=calibration_of("tx2-sim").power)
    records = [as_if(board, chain(tmp_path, 2 + 3 * place, place % 4), 0.0) for place in range(6)]
    wrong = [r.model_copy(update={"energy_mj": r.energy_mj * 1.8}) if place in (1, 4) else r
             for place, r in enumerate(records) if r.energy_mj is not None]  # fmt: skip
    found = calibrate("tx2", [record.model_dump_json() for record in wrong])
    (tmp_path / "mine.toml").write_text(found.text)
    assert calibration(tmp_path / "mine.toml").power == board.power
    assert "refitted it is worse about networks left out of the fit" in found.text
    assert found.energy is not None and found.energy.median < 0.05


def test_the_clocks_are_those_of_the_power_mode(tmp_path: Path) -> None:
    """Half the processor's clock makes launches twice as long: in mode 1 that is no news."""
    board = other_board()
    slow = {"before": {"power_mode": {"id": 1, "name": "MAXQ"}}, "gpu_mhz": {"settled": 854.25}}
    paths = [chain(tmp_path, 2 + 3 * place, place % 3) for place in range(5)]
    records = [as_if(board, path, 0.0) for path in paths]
    slower = [
        record.model_copy(
            update={
                "conditions": slow,
                "latency_ms": record.latency_ms.model_copy(update={"mean": record.latency_ms.mean * 2035 / 1200}),
                "energy_mj": None,
            }
        )
        for record in records
        if record.latency_ms is not None
    ]
    found = calibrate("tx2", [record.model_dump_json() for record in slower])
    assert found.constants["launch_us"] == pytest.approx(40, rel=0.1)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("tx2-sim", "tx2-sim is no board"),
        ("host", "host is no board"),
        ("orin-nano", "no model of orin-nano to begin from; there are tx2-sim, nano-sim"),
        ("tx3", "unknown target 'tx3'"),
        ("tx2", "0 networks on tx2 are not enough"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(target: str, says: str) -> None:
    with pytest.raises(EdgesynthError, match=says):
        calibrate(target, [])


def test_the_command_writes_a_model_that_everything_uses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "measurements.jsonl"
    lines.write_text("\n".join([*campaign(tmp_path), "{}"]))
    assert run(["calibrate", "tx2", "--from", str(lines)]) == 0
    said = capsys.readouterr().out
    assert "line 7 left out" in said and "for --target tx2-calibrated" in said and "multiply-accumulates alone" in said
    path = models_folder() / "tx2-calibrated.toml"
    target = find_target("tx2-calibrated")
    assert (target.kind, target.based_on, target.constants) == ("model", "tx2", str(path))
    assert list(all_targets())[-1] == "tx2-calibrated"
    assert model_of(find_target("tx2")) == target
    network = chain(tmp_path, 9, 2)
    mine, shipped = (estimate(network, name) for name in ("tx2-calibrated", "tx2-sim"))
    assert mine.energy_mj and shipped.energy_mj and mine.energy_mj != shipped.energy_mj
    assert mine.engine.version.startswith("tx2-calibrated/6 measurements")
    assert estimate(network, str(path)).energy_mj == mine.energy_mj
    with pytest.raises(EdgesynthError, match="tx2 is a board, not a model: estimate for tx2-calibrated"):
        estimate(network, "tx2")


def test_the_command_as_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "measurements.jsonl"
    lines.write_text("\n".join(campaign(tmp_path, 5)))
    out = tmp_path / "there" / "mine.toml"
    assert run(["calibrate", "tx2", "--from", str(lines), "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgesynth.calibration/1"
    assert (document["model"], document["out"], document["better"]) == (str(out), str(out), True)
    assert find_target(document["model"]).constants == str(out)
    assert document["networks"] == 5 and "text" not in document
    assert out.is_file()


def test_it_reads_what_bench_prints(tmp_path: Path) -> None:
    """`edgesynth bench --json >> FILE`: documents of many lines, beside such of one line and what is none."""
    records = [Measurement.model_validate_json(line) for line in campaign(tmp_path)]
    printed = [record.model_dump_json(indent=2) for record in records[:4]]
    lines = tmp_path / "measurements.json"
    lines.write_text("\n".join([*printed[:2], "{", *printed[2:], "", *(r.model_dump_json() for r in records[4:]), "]"]))
    found = calibrate("tx2", documents_in(lines.read_text()))
    assert (found.rows, found.networks) == (6, 6)
    broken = lines.read_text().split("\n").index("{", 1 + printed[0].count("\n") + 1 + 1)
    assert [skipped.line for skipped in found.skipped] == [broken + 1, lines.read_text().count("\n") + 1]
    assert run(["calibrate", "tx2", "--from", str(lines)]) == 0


@given(st.text(alphabet='{}[]"1, \n\u2028'))
def test_whatever_the_file_is_each_line_is_an_entry(text: str) -> None:
    entries = documents_in(text)
    assert len(entries) == text.count("\n") + (not text.endswith("\n")) * bool(text)
    assert "".join("".join(entries).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("pattern", "instead", "says"),
    [
        (r"\[fitted.launch_us\]\nvalue = .*", "[fitted.launch_us]\nvalue = nan", "launch_us is nan"),
        (r"\[fitted.launch_us\]\nvalue = .*", "[fitted.launch_us]\nvalue = -5.0", "launch_us is -5.0"),
        (r"\[fitted.launch_us\]\nvalue = .*", "[fitted.launch_us]\nvalue = 1e308", r"launch_us is 1e\+308"),
        (r"\nlow = .*", "\nlow = 50.0", r"overhead .* is not between 50.0 and"),
        (r"launch_bound_rms = \S*", "launch_bound_rms = nan", "an rms is nan"),
        (r"covariance = \[\n.*\n", "covariance = [\n", "the covariance is not 7 x 7 numbers"),
        (r"covariance = \[\n  \[[^,]*", "covariance = [\n  [-100.0", "variances below zero"),
        (r'names = \["launch_us"', 'names = ["launch"', "launch cannot be fitted"),
    ],
)
def test_a_model_that_was_damaged_is_refused(tmp_path: Path, pattern: str, instead: str, says: str) -> None:
    """A figure by one with a negative constant, or an interval beside its figure, would look like any other."""
    text, replaced = re.subn(pattern, instead, calibrate("tx2", campaign(tmp_path, 3)).text, count=1)
    assert replaced
    path = tmp_path / "damaged.toml"
    path.write_text(text)
    with pytest.raises(EdgesynthError, match=rf"damaged.toml: not a model that.*{says}.*run edgesynth calibrate"):
        estimate(chain(tmp_path, 3, 1), str(path))


def test_a_model_that_is_no_better_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Measurements that are just what the model says: refitting can only make it worse."""
    paths = [chain(tmp_path, 2 + 3 * place, place % 3) for place in range(4)]
    lines = tmp_path / "measurements.jsonl"
    lines.write_text("\n".join(measured(path).model_dump_json() for path in paths))
    out = tmp_path / "mine.toml"
    assert run(["calibrate", "tx2", "--from", str(lines), "--out", str(out)]) == 1
    assert "not written: the model that it began from is at least as good" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--from", "absent.jsonl"], 2, "absent.jsonl: cannot be read as text"),
        (["--from", "lines.jsonl", "--out", "mine.txt"], 2, "mine.txt: give a name like tx2-mine.toml"),
        (["--from", "lines.jsonl", "--out", "file/mine.toml"], 3, "file/mine.toml: cannot be written"),
    ],
)
def test_a_bad_file_is_one_line(
    arguments: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.jsonl").write_text("\n".join(campaign(tmp_path, 4)))
    (tmp_path / "file").write_text("")
    assert run(["calibrate", "tx2", *arguments]) == code
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"there is no table \[target\]"),
        ("[target]\nbased_on = 'tx2'\n", "not a model that this version of edgesynth can read"),
        ("[target]\nbased_on = 'tx9'\n", "based_on: 'tx9' is none of"),
        ("[target]\ndescription = 'a'\n", "opset is missing|based_on is missing"),
        ("broken [", "not TOML"),
    ],
)
def test_a_damaged_model_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(EdgesynthError, match=says) as error:
        estimate(chain(tmp_path, 2, 0), str(path))
    assert "\n" not in str(error.value)


def test_a_model_cannot_take_the_name_of_another_target(tmp_path: Path) -> None:
    models_folder().mkdir(parents=True)
    (models_folder() / "nano.toml").write_text("[target]\nbased_on = 'tx2'\n")
    with pytest.raises(EdgesynthError, match=r"the name 'nano' is taken by edgesynth itself; rename the file"):
        find_target("something")
    assert find_target("tx2").name == "tx2"


def test_a_record_carries_its_kernels(tmp_path: Path) -> None:
    path = chain(tmp_path, 3, 1)
    record = measured(path)
    assert record.network is not None
    again = Measurement.model_validate_json(record.model_dump_json())
    assert again.network == record.network
    assert [kernel.kind for kernel in kernels_in(record.network)] == ["convolution"] * 3 + ["pooling"] * 2


def test_a_measurement_is_kept_where_its_kernels_cannot_be_told(tmp_path: Path) -> None:
    record = estimate(chain(tmp_path, 2, 0), "tx2-sim")
    free = save(tmp_path / "free.onnx", [conv("x", "y")], {"w": (8, 8, 3, 3)}, (1, 8, "h", "w"))
    assert with_network(record, free) == record
    assert with_network(record, tmp_path / "absent.onnx") == record
    int8 = record.model_copy(update={"engine": record.engine.model_copy(update={"precision": "int8"})})
    assert with_network(int8, chain(tmp_path, 2, 0)) == int8
