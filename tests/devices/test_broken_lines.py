"""Uploads and jobs over a line that breaks: what came across stays, and the end is the same."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesynth.devices import AgentClient, Deadline, HeldLease, JobRequest, Schedule
from edgesynth.devices import upload as upload_module
from edgesynth.devices import watch as watch_module
from edgesynth.devices.http import AgentHttp
from edgesynth.errors import ConnectionLostError, DeviceError
from tests.agent.models import save_conv
from tests.agent.running import RunningAgent
from tests.devices.lines import BreakingLine, breaking_line
from tests.devices.references import save_reference

SHORT = Schedule(warmup_min_s=0, warmup_max_s=0.05, windows=3, window_s=0.02)
LONG = Schedule(warmup_min_s=0, warmup_max_s=0.05, windows=3, window_s=0.5)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    with RunningAgent(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture
def line(agent: RunningAgent, tmp_path: Path) -> Iterator[BreakingLine]:
    with breaking_line(tmp_path, agent.socket_path) as line:
        yield line


@pytest.fixture
def client(line: BreakingLine) -> AgentClient:
    return AgentClient(line.path, "board")


@pytest.fixture(autouse=True)
def free(agent: RunningAgent, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody holds the device afterwards, also where the line broke before its release."""
    taken: list[HeldLease] = []
    take = AgentClient.lease

    def remembering(client: AgentClient, holder: str) -> HeldLease:
        taken.append(take(client, holder))
        return taken[-1]

    monkeypatch.setattr(AgentClient, "lease", remembering)
    yield
    for lease in taken:
        agent.ask("DELETE", f"/v1/leases/{lease.id}")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "PAUSE_S", 0.02)


def large_reference(folder: Path) -> Path:
    """A file of some 100 KiB that is a reference by its first bytes."""
    path = save_reference(save_conv(folder / "conv.onnx"), folder / "conv.reference.npz")
    path.write_bytes(path.read_bytes() + os.urandom(100_000))
    return path


def test_an_upload_goes_on_where_the_line_broke(client: AgentClient, line: BreakingLine, tmp_path: Path) -> None:
    path = large_reference(tmp_path)
    size = path.stat().st_size
    # For each connection: a question about the offset, and then a part of the file.
    line.limits = [-1, 30_000, -1, 50_000, -1, -1]
    assert client.upload_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    parts = [sent for sent in line.sent if sent > 2000]
    assert len(parts) == 3
    assert size < sum(parts) < size + 3000  # nothing twice, but for the heads
    questions = len(line.sent)
    client.upload_file(path)
    assert len(line.sent) == questions + 1  # it is there: one question, and nothing is sent


def test_a_line_that_lets_nothing_through_is_given_up(
    client: AgentClient, line: BreakingLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_module, "PATIENCE_S", 0.3)
    line.limits = [-1, 10] * 1000
    with pytest.raises(ConnectionLostError, match="board: the connection broke"):
        client.upload_file(large_reference(tmp_path))


def test_all_that_came_and_was_never_looked_at_begins_anew(
    client: AgentClient, agent: RunningAgent, tmp_path: Path
) -> None:
    path = save_conv(tmp_path / "conv.onnx", seed=5)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    # As an agent leaves it that was killed between the last byte and the look at it.
    (agent.socket_path.parent / "models" / f"{digest}.onnx.partial").write_bytes(path.read_bytes())
    assert client.upload(path) == digest
    assert agent.ask("GET", f"/v1/models/{digest}")[0] == 200


def test_an_empty_file_is_refused_and_not_asked_for_again(client: AgentClient, tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(DeviceError, match="no ONNX model"):
        client.upload(tmp_path / "empty.onnx")


def run(client: AgentClient, path: Path, schedule: Schedule) -> tuple[list[str], float]:
    """What was told of a job on the way, and the latency that came of it."""
    stages: list[str] = []
    request = JobRequest(model=client.upload(path), target="host", batch=1, limit_s=60, schedule=schedule)
    with client.lease("test") as lease:
        job = client.submit(request, lease)
        record = client.wait(job.id, Deadline(60), lambda stage, share: stages.append(stage))
    assert record.latency_ms is not None
    return stages, record.latency_ms.mean


def test_a_job_is_followed_by_its_events_alone(
    client: AgentClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    exchange = AgentHttp.exchange

    def listening(http: AgentHttp, method: str, path: str, *rest: object, **more: object) -> object:
        asked.append(f"{method} {path.partition('/v1/')[2].partition('/')[0]}")
        return exchange(http, method, path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(AgentHttp, "exchange", listening)
    stages, _ = run(client, save_conv(tmp_path / "conv.onnx"), LONG)
    assert stages[0] == "queued"
    assert stages[-1] == "done"
    assert stages.count("measuring") == 3
    assert asked.count("GET jobs") == 1  # for its result


@pytest.mark.parametrize("after", [0, 150, 300, 500])
def test_a_stream_that_breaks_is_taken_up_again(
    client: AgentClient, line: BreakingLine, tmp_path: Path, after: int
) -> None:
    path = save_conv(tmp_path / "conv.onnx")
    # Connections: the upload's question, its part if need be, the lease, the job; whichever carries the events breaks.
    client.upload(path)
    line.answers = [-1, -1, -1, after, -1, after]
    stages, _ = run(client, path, LONG)
    assert stages[-1] == "done"
    assert stages.count("queued") <= 2


def test_a_line_that_is_gone_for_a_moment_costs_nothing(
    client: AgentClient, line: BreakingLine, tmp_path: Path
) -> None:
    path = save_conv(tmp_path / "conv.onnx")
    client.upload(path)
    line.answers = [-1, -1, -1, 200, 0, 0, 0, 10, 0, 20]
    stages, _ = run(client, path, LONG)
    assert stages[-1] == "done"


def test_a_line_that_stays_broken_is_told(
    client: AgentClient, line: BreakingLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PATIENCE_S", "SILENCE_S"):
        monkeypatch.setattr(watch_module, name, 0.2)
    path = save_conv(tmp_path / "conv.onnx")
    client.upload(path)
    line.answers = [-1, -1, -1, *[0] * 1000]
    with pytest.raises(ConnectionLostError, match="board: the connection broke"):
        run(client, path, LONG)


def test_silence_is_looked_into(client: AgentClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "SILENCE_S", 0.1)
    stages, _ = run(client, save_conv(tmp_path / "conv.onnx"), LONG)
    assert stages[-1] == "done"


def test_without_a_stream_the_job_is_asked_for(
    client: AgentClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(http: AgentHttp, path: str, silence_s: float) -> Iterator[dict[str, object]]:
        raise DeviceError("board: there is nothing")
        yield {}

    monkeypatch.setattr(AgentHttp, "lines", none)
    stages, _ = run(client, save_conv(tmp_path / "conv.onnx"), SHORT)
    assert stages[-1] == "done"
