"""Estimates from files, as a record and on the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgesynth.cli.estimate import estimate as command
from edgesynth.energy.estimate import analyse, estimate
from edgesynth.errors import EdgesynthError, ModelFileError
from edgesynth.records import Measurement
from tests.energy.graphs import conv, node, save

app = typer.Typer()
app.command()(command)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nodes = [conv("x", "a"), node("Relu", "a", "b"), conv("b", "c"), node("GlobalAveragePool", "c", "y")]
    return save(tmp_path / "net.onnx", nodes, {"w": (8, 8, 3, 3)}, ("n", 8, 16, 16))


def test_an_estimate_says_that_it_is_one(model: Path) -> None:
    record = estimate(model, "tx2-sim")
    assert (record.source, record.target, record.windows) == ("estimated", "tx2-sim", [])
    assert (record.engine.backend, record.engine.precision, record.engine.batch) == ("model", "fp16", 1)
    assert record.engine.flags == {"kernels": 3, "macs": 2 * 8 * 72 * 256, "params": 2 * 8 * 72}
    assert record.device["model"] == "NVIDIA Jetson TX2"
    assert record.latency_ms is not None and record.latency_ms.p99 is None
    assert any("p50, p90, p99" in warning for warning in record.warnings)


def test_the_figures_agree_with_one_another(model: Path) -> None:
    record = estimate(model, "tx2-sim", "fp32")
    assert record.latency_ms and record.power_w and record.idle_power_w and record.energy_mj
    assert record.energy_mj == pytest.approx(record.power_w * record.latency_ms.mean)
    assert record.inferences_per_joule == pytest.approx(1e3 / record.energy_mj)
    assert record.power_w > record.idle_power_w
    values = {"latency_ms": record.latency_ms.mean, "energy_mj": record.energy_mj}
    for name, value in (values | {"inferences_per_joule": 1e3 / record.energy_mj}).items():
        interval = record.ci95[name]
        assert interval is not None and interval[0] < value < interval[1]


@pytest.mark.parametrize("target", ["tx2-sim", "nano-sim"])
def test_layers_add_up_to_the_network(model: Path, target: str) -> None:
    record = estimate(model, target)
    assert record.latency_ms is not None and record.layers is not None
    assert [cost.kind for cost in record.layers] == ["convolution", "convolution", "pooling", "rest"]
    assert record.layers[-1].layer == "overhead and idle"
    assert sum(cost.latency_ms for cost in record.layers) == pytest.approx(record.latency_ms.mean)
    energies_mj = [cost.energy_mj for cost in record.layers]
    if target == "nano-sim":
        assert energies_mj == [None] * 4
    else:
        assert record.idle_power_w is not None
        assert sum(filter(None, energies_mj)) == pytest.approx(record.energy_mj)
        assert all(energy_mj is not None and energy_mj > 0 for energy_mj in energies_mj)
        # What the board draws at idle all the while belongs to no kernel.
        assert (energies_mj[-1] or 0) > record.idle_power_w * record.latency_ms.mean


def warnings_of(model: Path) -> str:
    return "\n".join(estimate(model, "tx2-sim").warnings)


def test_it_warns_of_everything_that_the_fit_has_not_seen(model: Path, tmp_path: Path) -> None:
    warnings = "\n".join(estimate(model, "tx2-sim", "fp16", batch=4).warnings)
    assert "latency is extrapolated: 3 kernels, fitted on 16 to 238" in warnings
    assert "energy is extrapolated: 3 kernels" in warnings
    assert "latency is extrapolated: 294,912 multiply-accumulates" in warnings_of(model)
    assert "joules are known at fp32 only" in warnings
    assert "fitted on batch 1 only" in warnings
    depthwise = save(tmp_path / "d.onnx", [conv("x", "y", "d", group=8)], {"d": (8, 1, 3, 3)})
    found = estimate(depthwise, "tx2-sim", "fp32").warnings
    assert any("depthwise" in warning for warning in found)
    assert not any("fp16" in warning or "batch" in warning for warning in found)


def test_a_batch_costs_less_than_its_images_one_by_one(model: Path) -> None:
    one, eight = (estimate(model, "tx2-sim", batch=batch).energy_mj for batch in (1, 8))
    assert one and eight and one < eight < 8 * one


def test_what_cannot_be_estimated_is_refused_with_the_reason(model: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgesynthError, match=r"int8 networks.*compute capability 6\.2.*use fp16"):
        analyse(model, "tx2-sim", "int8")
    with pytest.raises(EdgesynthError, match="unknown precision 'bf16': known are fp32, fp16"):
        analyse(model, "tx2-sim", "bf16")
    with pytest.raises(EdgesynthError, match="unknown target 'tx3': known are"):
        analyse(model, "tx3")
    with pytest.raises(EdgesynthError, match="tx2 is a board, not a model: estimate for tx2-sim"):
        analyse(model, "tx2")
    with pytest.raises(
        EdgesynthError,
        match=r"no model of target 'orin-nano': no measured networks of that board.*estimate for tx2-sim",
    ):
        analyse(model, "orin-nano")
    with pytest.raises(EdgesynthError, match=r"no model of target 'host'.*edgesynth bench"):
        analyse(model, "host")
    with pytest.raises(ModelFileError, match="no such file"):
        analyse(tmp_path / "absent.onnx", "tx2-sim")
    nothing = save(tmp_path / "n.onnx", [node("Identity", "x", "y")])
    with pytest.raises(EdgesynthError, match="nothing to run"):
        analyse(nothing, "tx2-sim")


def test_json_is_one_measurement_document(model: Path) -> None:
    result = CliRunner().invoke(app, [str(model), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["schema"] == "edgesynth.measurement/1"
    assert Measurement.model_validate_json(result.stdout) == estimate(model, "tx2-sim")


def test_the_table_says_where_the_time_goes(model: Path) -> None:
    result = CliRunner().invoke(app, [str(model), "--precision", "fp32"])
    assert result.exit_code == 0
    for word in (
        "estimated, not measured",
        "inferences per joule",
        "launch ms",
        "convolution",
        "overhead",
        "warning: ",
    ):
        assert word in result.stdout


def test_a_bad_precision_reaches_the_caller_as_an_error(model: Path) -> None:
    result = CliRunner().invoke(app, [str(model), "--precision", "int8"])
    assert isinstance(result.exception, EdgesynthError)


def test_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgesynth.cli.estimate as _; assert not {'onnx', 'numpy', 'torch', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_power_mode_counts_by_its_clocks(model: Path) -> None:
    fastest, slow = estimate(model, "tx2-sim"), estimate(model, "tx2-sim", power_mode=1)
    assert fastest.latency_ms and slow.latency_ms
    # Launches and overhead go with the processor's clock, and this network does nothing else.
    assert slow.latency_ms.mean == pytest.approx(fastest.latency_ms.mean * 2035 / 1200, rel=1e-3)
    assert slow.device["power_mode"] == "1 (MAXQ)"
    assert (slow.device["gpu_clock_hz"], slow.device["cpu_clock_hz"]) == (850e6, 1200e6)
    assert any("power mode 1 counts by its clocks alone" in warning for warning in slow.warnings)
    with pytest.raises(EdgesynthError, match=r"tx2-sim has no power mode 9: known are 0 \(MAXN\), 1 \(MAXQ\)"):
        estimate(model, "tx2-sim", power_mode=9)


def test_a_board_without_joules_has_a_latency_and_says_why(model: Path) -> None:
    record = estimate(model, "nano-sim")
    assert record.latency_ms and record.ci95["latency_ms"]
    for name in ("energy_mj", "inferences_per_joule", "power_w", "idle_power_w"):
        assert getattr(record, name) is None
    assert record.ci95["energy_mj"] is None
    assert any(warning.startswith("energy_mj is unknown: no measured network") for warning in record.warnings)
    assert any(
        "fitted at fp16 only, not at fp32" in warning for warning in estimate(model, "nano-sim", "fp32").warnings
    )
    tx2 = estimate(model, "tx2-sim").latency_ms
    assert tx2 is not None and tx2.mean < record.latency_ms.mean


def test_the_assumed_overhead_is_told_with_its_limits(model: Path) -> None:
    warnings = "\n".join(estimate(model, "tx2-sim").warnings)
    assert "latency holds 0.47 ms of overhead besides the kernels, 0.094 to 0.94: assumed" in warnings


def test_the_interval_reaches_from_the_least_overhead_to_the_greatest(model: Path) -> None:
    record = estimate(model, "tx2-sim", "fp32")
    assert record.latency_ms is not None and record.ci95["latency_ms"] is not None
    low_ms, high_ms = record.ci95["latency_ms"]
    assert low_ms < record.latency_ms.mean - (0.47 - 0.1) and high_ms > record.latency_ms.mean + (0.93 - 0.47)


def test_the_table_takes_a_power_mode_and_a_board_without_joules(model: Path) -> None:
    result = CliRunner().invoke(app, [str(model), "--target", "nano-sim", "--power-mode", "1"])
    assert result.exit_code == 0
    assert "power mode 1 (5W)" in result.stdout and "unknown" in result.stdout
