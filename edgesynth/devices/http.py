"""HTTP over the Unix socket of an agent: questions with one JSON answer, and answers that come line by line."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from edgesynth.devices.jobs import Failure
from edgesynth.errors import ConnectionLostError, DeviceError

__all__ = ["AgentHttp", "Answer"]

REPLY_LIMIT_S = 90.0
"""The first question about the device waits for its runtimes to be imported."""
LONGEST_LINE = 1024 * 1024
CHUNK = 64 * 1024


class Answer(NamedTuple):
    """Status, headers (by names in small letters) and document of an answer; the document of a HEAD is empty."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]


class AgentHttp:
    """Asks one agent. Each question is a connection of its own, so nothing is held open and threads may share this.

    Raises DeviceError, naming the device, when there is no agent or none that answers as one; ConnectionLostError when
    the connection broke or no answer came, so that to ask again may help.
    """

    def __init__(self, socket_path: Path, device: str) -> None:
        self._socket_path = socket_path
        self._device = device

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        length: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One question; `length` is that of a body which is no bytes."""
        size = len(body) if isinstance(body, bytes) else length
        extra = dict(headers or {}) if body is None else {"Content-Length": str(size), **(headers or {})}
        question = f"{method} {path}"
        with self._connected(question, REPLY_LIMIT_S) as connection:
            try:
                connection.request(method, path, body=body, headers=extra)
            except (BrokenPipeError, ConnectionResetError):
                if connection.sock is None:
                    raise
                # The agent closed in the middle of the body, so its reply lies ready and says why.
            with connection.getresponse() as response:
                status, data = response.status, response.read()
                found = {name.lower(): value for name, value in response.getheaders()}
        if method == "HEAD":
            return Answer(status, found, {})
        return Answer(status, found, self._document(data, question))

    def lines(self, path: str, silence_s: float) -> Iterator[dict[str, Any]]:
        """The JSON objects of an answer as they come, to its end; an end between two of them may be that of the line.

        Raises ConnectionLostError also when none came for `silence_s`, and DeviceError with what the agent refused.
        """
        question = f"GET {path}"
        with self._connected(question, silence_s) as connection:
            connection.request("GET", path)
            with connection.getresponse() as response:
                if response.status != 200:
                    raise self.refusal(Answer(response.status, {}, self._document(response.read(), question)))
                while line := response.readline(LONGEST_LINE):
                    if not line.endswith(b"\n"):
                        raise http.client.IncompleteRead(line)
                    yield self._document(line, question)

    def chunks(self, path: str, most: int) -> Iterator[bytes]:
        """The bytes of an answer as they come, no more than `most`.

        Raises ConnectionLostError also when they end too early, and DeviceError with what the agent refused.
        """
        question = f"GET {path}"
        with self._connected(question, REPLY_LIMIT_S) as connection:
            connection.request("GET", path)
            with connection.getresponse() as response:
                if response.status != 200:
                    raise self.refusal(Answer(response.status, {}, self._document(response.read(), question)))
                left = response.length
                if left is None or left > most:
                    size = "does not say how large it is" if left is None else f"has {left:,} bytes"
                    raise self.error(f"the answer to {question} {size}, {most:,} are the most")
                while left:
                    data = response.read(min(left, CHUNK))
                    if not data:
                        raise http.client.IncompleteRead(b"", left)
                    left -= len(data)
                    yield data

    def refusal(self, answer: Answer) -> DeviceError:
        """What an agent says that refuses."""
        try:
            failure = Failure.model_validate(answer.document.get("error"))
        except ValueError:
            return self.error("its answer is no Failure: it refuses and does not say why; update the agent")
        return self.error(str(failure))

    def error(self, message: str) -> DeviceError:
        return DeviceError(f"{self._device}: {message}")

    @contextmanager
    def _connected(self, question: str, limit_s: float) -> Iterator["_UnixConnection"]:
        connection = _UnixConnection(self._socket_path, limit_s)
        try:
            yield connection
        except FileNotFoundError as error:
            raise self.error(f"there is no socket {self._socket_path}; start the agent") from error
        except ConnectionRefusedError as error:
            raise self.error(f"nobody listens on {self._socket_path}; start the agent") from error
        except TimeoutError as error:
            raise self._lost(f"no answer to {question} in {limit_s:g} s; restart the agent") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(f"the connection broke ({error!r}) at {question}; see the agent's log") from error
        finally:
            connection.close()

    def _document(self, data: bytes, question: str) -> dict[str, Any]:
        try:
            document = json.loads(data)
        except ValueError as error:
            raise self.error(f"the answer to {question} is no JSON; is an edgesynth agent there?") from error
        if not isinstance(document, dict):
            raise self.error(f"the answer to {question} is no JSON object; is an edgesynth agent there?")
        return document

    def _lost(self, message: str) -> ConnectionLostError:
        return ConnectionLostError(f"{self._device}: {message}")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket at `path`."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except BaseException:
            self.close()
            raise
