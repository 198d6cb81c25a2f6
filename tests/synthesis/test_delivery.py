"""Traces of what was measured, in the run."""

from pathlib import Path

import pytest

from edgesynth.devices import FakeOracle
from edgesynth.devices.traces import default_traces
from edgesynth.records import Measurement
from edgesynth.synthesis.delivery import trace_in
from tests.agent.models import save_conv


@pytest.fixture
def measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measurement:
    """Measured on something, with a trace."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with FakeOracle("tx2", lambda _: (2.0, 8.0)) as oracle:
        record = oracle.measure(save_conv(tmp_path / "conv.onnx"))
    return record.model_copy(update={"trace": default_traces().keep([b"abc"])})


def test_a_trace_is_copied_into_the_run(measurement: Measurement, tmp_path: Path) -> None:
    found = trace_in(tmp_path / "run", measurement)
    assert found.trace is not None and measurement.trace is not None
    assert found.trace.file == f"traces/{measurement.trace.file}"
    assert (tmp_path / "run" / found.trace.file).read_bytes() == b"abc"
    assert found.warnings == measurement.warnings


def test_a_trace_that_is_lost_costs_no_figure(measurement: Measurement, tmp_path: Path) -> None:
    assert measurement.trace is not None
    (tmp_path / "data" / "edgesynth" / "traces" / measurement.trace.file).unlink()
    found = trace_in(tmp_path / "run", measurement)
    assert (found.trace, found.latency_ms) == (None, measurement.latency_ms)
    assert found.warnings[-1].startswith("its trace is lost: cannot read")


def test_a_run_that_takes_no_trace_costs_no_figure(measurement: Measurement, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    found = trace_in(tmp_path / "run", measurement)
    assert found.trace is None
    assert found.warnings[-1].startswith("its trace is lost: cannot write")


def test_why_there_is_none_is_said_once(measurement: Measurement, tmp_path: Path) -> None:
    untraced = measurement.model_copy(update={"trace": None})
    found = trace_in(tmp_path, untraced)
    assert found.warnings[-1] == "no trace was kept: it was measured by an edgesynth that kept none"
    told = untraced.model_copy(update={"warnings": ["no trace was kept: board: the connection broke"]})
    assert trace_in(tmp_path, told) == told
    estimated = untraced.model_copy(update={"source": "estimated"})
    assert trace_in(tmp_path, estimated) == estimated
