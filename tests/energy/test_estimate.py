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
