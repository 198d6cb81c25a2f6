"""What every transport must do. A test class inherits this and says how to make one."""

import io
import socket
import threading
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from edgesynth.devices.transport import Transport
from edgesynth.errors import DeviceError


class TransportContract(ABC):
    @abstractmethod
    def make(self) -> Transport:
        """One that is not connected; its commands run on this machine."""

    @abstractmethod
    def cut(self, transport: Transport) -> None:
        """Break its connection."""

    def test_a_question_and_its_answer(self) -> None:
        with self.make() as transport:
            answer = transport.ask("echo out; echo err >&2; exit 3")
            assert (answer.code, answer.out, answer.err) == (3, "out\n", "err\n")
            assert transport.ask("cat").out == ""  # stdin is at its end
            assert transport.ask("echo \"it's\" '$HOME'").out == "it's $HOME\n"

    def test_a_file_of_any_bytes(self, tmp_path: Path) -> None:
        data = bytes(range(256)) * 10_000
        with self.make() as transport:
            answer = transport.send(io.BytesIO(data), f"cat >{tmp_path}/there && wc -c <{tmp_path}/there")
            assert (answer.code, answer.out.strip()) == (0, str(len(data)))
        assert (tmp_path / "there").read_bytes() == data

    def test_a_command_that_ends_before_the_file_does(self) -> None:
        with self.make() as transport:
            answer = transport.send(io.BytesIO(b"x" * 10_000_000), "echo no room >&2; exit 1")
        assert (answer.code, answer.err) == (1, "no room\n")

    def test_lines_to_and_fro(self) -> None:
        with self.make() as transport, transport.open('while read -r line; do echo "<$line>"; done') as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for text in (b"one\n", b"two\n"):
                process.stdin.write(text)
                process.stdin.flush()
                assert process.stdout.readline() == b"<" + text.strip() + b">\n"

    def test_a_socket_is_forwarded(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            threading.Thread(target=self._echo, args=(listener,), daemon=True).start()
            with self.make() as transport, socket.socket(socket.AF_UNIX) as near:
                near.settimeout(20)
                near.connect(str(transport.forward(str(tmp_path / "s"))))
                near.sendall(b"hello")
                assert near.recv(100) == b"hello"

    @staticmethod
    def _echo(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(connection.recv(100))

    def test_a_broken_connection_is_said(self, tmp_path: Path) -> None:
        with self.make() as transport:
            assert transport.broken() is None
            with transport.open(f"echo begun; cat >/dev/null; touch {tmp_path}/ended") as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"begun\n"
                self.cut(transport)
                process.stdout.read()
            assert "the connection broke" in str(transport.broken())
            with pytest.raises(DeviceError, match="the connection broke"):
                transport.ask("true")
            with pytest.raises(DeviceError, match="the connection broke"):
                transport.forward("/run/x.sock")
        for _ in range(400):
            if (tmp_path / "ended").exists():
                return
            threading.Event().wait(0.05)
        raise AssertionError("the other side does not see the end of its stdin")

    def test_it_may_be_entered_again(self) -> None:
        transport = self.make()
        for _ in range(2):
            with transport:
                assert transport.ask("echo yes").out == "yes\n"
