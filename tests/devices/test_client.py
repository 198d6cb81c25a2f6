"""The client against an agent that answers badly, or not at all: always a DeviceError that says what to do."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgesynth.devices import AgentClient, Deadline, HostAgent, JobRequest, Schedule
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


def test_an_upload_that_is_refused_unread_says_why(client: AgentClient, tmp_path: Path) -> None:
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(512 * 1024 * 1024 + 1)
    with pytest.raises(DeviceError, match="the most that is taken"):
        client.upload(tmp_path / "huge.onnx")


def test_a_folder_is_no_model(client: AgentClient, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="directory"):
        client.upload(tmp_path)


def test_one_job_at_a_time_and_its_end(client: AgentClient, tmp_path: Path) -> None:
    model = client.upload(save_conv(tmp_path / "conv.onnx"))
    request = JobRequest(model=model, target="host", batch=1, limit_s=60, schedule=LONG)
    job = client.submit(request)
    assert job.request == request
    with pytest.raises(DeviceError, match=f"job {job.id} runs"):
        client.submit(request)
    with pytest.raises(DeviceError, match=r"after 0\.05 s"):
        client.wait(job.id, Deadline(0.05))
    assert client.cancel(job.id).status == "cancelled"
    with pytest.raises(DeviceError, match="cancelled"):
        client.wait(job.id, Deadline(1))
