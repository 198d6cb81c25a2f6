"""`edgesynth-agent health`: yes, no, and why not."""

import json
import socket
import threading

import pytest
from edgesynth_agent.cli import main

from tests.agent.running import RunningAgent


def ask(path, capsys, *options):
    code = main(["health", "--socket", str(path), *options])
    return (code, *capsys.readouterr())


def test_an_agent_that_answers(tmp_path, capsys):
    with RunningAgent(tmp_path) as agent:
        code, out, err = ask(agent.socket_path, capsys)
    assert (code, err) == (0, "")
    assert json.loads(out)["status"] == "ok"


def test_nobody_there(tmp_path, capsys):
    code, out, err = ask(tmp_path / "none.sock", capsys)
    assert (code, out) == (1, "")
    assert err.startswith(f"edgesynth-agent: socket {tmp_path / 'none.sock'}: ")
    assert err.count("\n") == 1


def test_a_path_too_long_for_a_socket(tmp_path, capsys):
    assert ask(tmp_path / ("x" * 120), capsys)[0] == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "without response"),
        (b"\xff\x00 what?\r\n\r\n", "what?"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nlater", "503: later"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nnot all", "200: not all"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"status": "broken"}', "broken"),
        (None, "timed out"),
    ],
)
def test_something_else_answers(tmp_path, capsys, answer, said):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        asked = threading.Event()
        server = threading.Thread(target=answer_once, args=(listener, answer, asked))
        server.start()
        code, out, err = ask(path, capsys, "--timeout", "0.3" if answer is None else "20")
        asked.set()
        server.join()
    assert (code, out) == (1, "")
    assert said in err


def answer_once(listener, answer, asked):
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        if answer is None:
            asked.wait(20)
        else:
            connection.sendall(answer)


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "soon", "1e9"])
def test_a_timeout_that_is_none(timeout, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["health", "--socket", "s", "--timeout", timeout])
    assert ended.value.code == 2
