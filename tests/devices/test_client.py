"""The client against an agent that answers badly, or not at all: always a DeviceError that says what to do."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgesynth.devices import AgentClient, Deadline, HostAgent, JobRequest, Schedule
from edgesynth.devices import upload as upload_module
from edgesynth.errors import DeviceError, ModelFileError
from tests.agent.models import save_conv

LONG = Schedule(warmup_min_s=0, warmup_max_s=0.05, windows=3, window_s=10)


@pytest.fixture(scope="module")
def client() -> Iterator[AgentClient]:
    with HostAgent() as client:
        yield client


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[bytes], AgentClient]]:
    """A client of somebody who gives every question the same answer."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        threads = []

        def answer(reply: bytes) -> AgentClient:
            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(reply)

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return AgentClient(tmp_path / "s", "board")

        yield answer
        for thread in threads:
            thread.join()


def reply(document: object, status: str = "200 OK") -> bytes:
    body = json.dumps(document).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "connection broke"),
        (b"SSH-2.0-OpenSSH\r\n", "connection broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "connection broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "no JSON"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "no JSON"),
        (reply([1]), "no JSON object"),
        (reply({"status": "ok"}), "no Health: version"),
        (reply({"error": {"what": "it is full", "where": "the disk", "next": "free it"}}, "507 x"), "the disk: it is"),
        (reply({"detail": "?"}, "500 x"), "no Failure"),
    ],
)
def test_a_bad_answer_is_a_device_error(answering: Callable[[bytes], AgentClient], answer: bytes, said: str) -> None:
    with pytest.raises(DeviceError, match=said) as caught:
        answering(answer).health()
    assert str(caught.value).startswith("board: ")
    assert caught.value.exit_code == 3


def test_no_socket_and_no_listener(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="start the agent"):
        AgentClient(tmp_path / "none", "board").health()
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(tmp_path / "dead"))
    with pytest.raises(DeviceError, match="start the agent"):
        AgentClient(tmp_path / "dead", "board").health()


def test_a_refused_upload_says_why(client: AgentClient, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(DeviceError, match="no ONNX model"):
        client.upload(tmp_path / "text.onnx")


def test_an_upload_that_is_refused_unread_says_why(
    client: AgentClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: hashlib.sha256(b"2 GiB take seconds"))
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(2 * 1024**3 + 1)
    with pytest.raises(DeviceError, match="the most that is taken"):
        client.upload(tmp_path / "huge.onnx")


def test_a_folder_is_no_model(client: AgentClient, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="directory"):
        client.upload(tmp_path)


def test_one_job_at_a_time_and_its_end(client: AgentClient, tmp_path: Path) -> None:
    model = client.upload(save_conv(tmp_path / "conv.onnx"))
    request = JobRequest(model=model, target="host", batch=1, limit_s=60, schedule=LONG)
    with client.lease("test") as lease:
        job = client.submit(request, lease)
        assert job.request == request
        with pytest.raises(DeviceError, match=f"job {job.id} runs"):
            client.submit(request, lease)
        with pytest.raises(DeviceError, match=r"after 0\.05 s"):
            client.wait(job.id, Deadline(0.05))
        assert client.cancel(job.id).status == "cancelled"
        with pytest.raises(DeviceError, match="cancelled"):
            client.wait(job.id, Deadline(1))


def test_an_upload_while_a_job_runs_is_its_holders(
    client: AgentClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_module, "PATIENCE_S", 0.0)
    model, other = (save_conv(tmp_path / f"{seed}.onnx", seed=seed) for seed in (11, 12))
    request = JobRequest(model=client.upload(model), target="host", batch=1, limit_s=60, schedule=LONG)
    with client.lease("first") as lease:
        job = client.submit(request, lease)
        with pytest.raises(DeviceError, match=f"job {job.id} of first runs, and an upload would disturb"):
            client.upload(other)
        client.upload(other, lease)
        assert not client.job(job.id).ended


def test_a_lease_is_renewed_for_as_long_as_it_is_held(client: AgentClient) -> None:
    with client.lease("first", ttl_s=1) as lease:
        time.sleep(1.6)
        lease.check()
        with pytest.raises(DeviceError, match="first has the lease"):
            client.lease("second")
    with client.lease("second") as second:
        client.release(second.id)  # as a device does that was restarted


def test_a_lease_that_the_device_let_go_of_is_told(client: AgentClient) -> None:
    with client.lease("first", ttl_s=1) as lease:
        client.release(lease.id)
        time.sleep(0.6)
        with pytest.raises(DeviceError, match="has ended"):
            lease.check()


def test_the_end_of_a_lease_ends_its_job(client: AgentClient, tmp_path: Path) -> None:
    model = client.upload(save_conv(tmp_path / "conv.onnx"))
    request = JobRequest(model=model, target="host", batch=1, limit_s=60, schedule=LONG)
    with client.lease("first") as lease:
        job = client.submit(request, lease)
    ended = client.job(job.id)
    assert (ended.status, ended.reason) == ("cancelled", "lease_ended")
    with pytest.raises(DeviceError, match="the lease of first was released"):
        client.wait(job.id, Deadline(1))
    with pytest.raises(DeviceError, match="lease"):
        client.submit(request, lease)
