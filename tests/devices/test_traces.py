"""The raw samples of what was measured, from the agent to where they stay."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgesynth_agent.run_trace import recompute

from edgesynth.devices import AgentClient, FakeOracle, HostOracle, Schedule, client
from edgesynth.devices.traces import Traces, with_trace
from edgesynth.errors import ConnectionLostError, DeviceError, StorageError
from edgesynth.records import Measurement
from tests.agent.models import save_conv
from tests.agent.running import RunningAgent, job_request
from tests.devices.lines import breaking_line

SHORT = Schedule(warmup_min_s=0, warmup_max_s=0.05, windows=3, window_s=0.02)


@pytest.fixture
def measurement(tmp_path: Path) -> Measurement:
    with FakeOracle("tx2", lambda _: (2.0, 8.0)) as oracle:
        return oracle.measure(save_conv(tmp_path / "conv.onnx"))


def test_a_trace_is_kept_by_its_content(tmp_path: Path) -> None:
    traces = Traces(tmp_path / "new" / "traces")
    trace = traces.keep([b"ab", b"c"])
    assert trace.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert (trace.file, trace.bytes) == (f"{trace.sha256}.jsonl.gz", 3)
    assert traces.keep([b"abc"]) == trace
    assert traces.content(trace) == b"abc"
    assert [path.name for path in (tmp_path / "new" / "traces").iterdir()] == [trace.file]


def test_a_trace_that_is_gone_or_another_one_is_said(tmp_path: Path) -> None:
    traces = Traces(tmp_path)
    trace = traces.keep([b"abc"])
    (tmp_path / trace.file).write_bytes(b"abd")
    with pytest.raises(StorageError, match="is not the file that was written"):
        traces.content(trace)
    (tmp_path / trace.file).unlink()
    with pytest.raises(StorageError, match="No such file"):
        traces.content(trace)


def test_what_this_machine_measures_can_be_computed_again(tmp_path: Path) -> None:
    with HostOracle(SHORT, traces=Traces(tmp_path / "traces")) as oracle:
        record = oracle.measure(save_conv(tmp_path / "conv.onnx"))
    assert record.trace is not None
    again = Measurement.model_validate(recompute(str(tmp_path / "traces" / record.trace.file)))
    added = {"network": record.network, "trace": record.trace, "measured_unix_s": record.measured_unix_s}
    assert again.model_copy(update=added) == record


def test_without_a_place_no_trace_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(AgentClient, "trace")
    with HostOracle(SHORT) as oracle:
        record = oracle.measure(save_conv(tmp_path / "conv.onnx"))
    assert record.trace is None
    assert not any("trace" in warning for warning in record.warnings)


def test_a_trace_that_fails_to_come_leaves_the_figures_and_a_reason(tmp_path: Path, measurement: Measurement) -> None:
    def refuse() -> list[bytes]:
        raise DeviceError("board: job 7: it has no trace")

    found = with_trace(measurement, Traces(tmp_path / "traces"), refuse)
    assert found.trace is None
    assert found.warnings == [*measurement.warnings, "no trace was kept: board: job 7: it has no trace"]
    assert found.latency_ms == measurement.latency_ms


def test_a_trace_that_broke_off_is_asked_for_once_more(tmp_path: Path, measurement: Measurement) -> None:
    asked = []

    def broken(times: int) -> Iterator[bytes]:
        asked.append(times)
        yield b"ab"
        if len(asked) <= times:
            raise ConnectionLostError("board: the connection broke")
        yield b"c"

    traces = Traces(tmp_path / "traces")
    found = with_trace(measurement, traces, lambda: broken(1))
    assert found.trace is not None
    assert traces.content(found.trace) == b"abc"
    asked.clear()
    found = with_trace(measurement, traces, lambda: broken(2))
    assert found.trace is None
    assert found.warnings[-1] == "no trace was kept: board: the connection broke"
    assert len(asked) == 2


def test_a_disk_that_refuses_costs_the_trace_alone(tmp_path: Path, measurement: Measurement) -> None:
    (tmp_path / "file").touch()
    found = with_trace(measurement, Traces(tmp_path / "file" / "traces"), lambda: [b"abc"])
    assert found.trace is None
    assert found.warnings[-1].startswith("no trace was kept: cannot write")


def test_a_trace_over_a_line_that_breaks_is_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agent").mkdir()
    with RunningAgent(tmp_path / "agent") as agent, breaking_line(tmp_path, agent.socket_path) as line:
        job = agent.ended(agent.submit(job_request(agent.upload(save_conv(tmp_path / "conv.onnx")))))
        board = AgentClient(line.path, "board")
        whole = b"".join(board.trace(job["id"]))
        assert len(whole) == job["trace_bytes"]
        line.answers = [600]
        with pytest.raises(ConnectionLostError, match="the connection broke"):
            b"".join(board.trace(job["id"]))
        with pytest.raises(DeviceError, match="there is nothing"):
            b"".join(board.trace("none"))
        monkeypatch.setattr(client, "_LARGEST_TRACE", 10)
        with pytest.raises(DeviceError, match=f"has {len(whole):,} bytes, 10 are the most"):
            b"".join(board.trace(job["id"]))
