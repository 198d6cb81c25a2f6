"""Reading a request with patience that ends: whoever sends a byte at a time must not hold a connection for long."""

import io
import re
import socket
import time
from typing import Any, NamedTuple, Optional

from edgesynth_agent.errors import RequestError

__all__ = ["Body", "ContentRange", "DeadlineReader", "HeadTooLargeError", "parse_content_range"]

_HEAD_LIMIT_S = 10.0
_MOST_HEAD_BYTES = 64 * 1024
# A body may take so long, and then so much longer for each byte of it that has come.
_BODY_LIMIT_S = 30.0
_LEAST_BYTES_PER_S = 16 * 1024

_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")


class HeadTooLargeError(Exception):
    """The request line and the headers are more than anybody needs."""


class DeadlineReader(io.RawIOBase):
    """What comes in on a socket, as a raw stream. Raises socket.timeout at the deadline, and HeadTooLargeError."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left: Optional[int] = None
        self._deadline_s = 0.0

    def readable(self) -> bool:
        return True

    def allow(self, seconds: float) -> None:
        """Reading may go on for so long from now."""
        self._left = None
        self._deadline_s = time.monotonic() + seconds

    def begin_head(self) -> None:
        """A request begins: its head has a limit of its own, in time and in bytes."""
        self.allow(_HEAD_LIMIT_S)
        self._left = _MOST_HEAD_BYTES

    def readinto(self, buffer: Any) -> int:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise socket.timeout("timed out")
        if self._left is not None and self._left <= 0:
            raise HeadTooLargeError
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(buffer)
        if self._left is not None:
            self._left -= count
        return count


class Body:
    """The body of one request: reads no further than its end, and no slower than a very slow link."""

    def __init__(self, stream: Any, reader: DeadlineReader, length: int) -> None:
        self._stream = stream
        self._reader = reader
        self._begin_s = time.monotonic()
        self._came = 0
        self.left = length

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. Raises socket.timeout."""
        if self.left == 0:
            return b""
        spent_s = time.monotonic() - self._begin_s
        self._reader.allow(_BODY_LIMIT_S + self._came / _LEAST_BYTES_PER_S - spent_s)
        data: bytes = self._stream.read1(min(size, self.left))
        self.left -= len(data)
        self._came += len(data)
        return data

    def read_all(self) -> bytes:
        """What is left of it. Raises socket.timeout, RequestError when it ends early."""
        parts = []
        while self.left:
            part = self.read(self.left)
            if not part:
                raise RequestError("it ends {} bytes early".format(self.left), "the body", "send all of it")
            parts.append(part)
        return b"".join(parts)


class ContentRange(NamedTuple):
    """Which bytes of how many a body is."""

    first: int
    total: int


def parse_content_range(text: str, length: int) -> ContentRange:
    """The range of a body of `length` bytes (RFC 9110, section 14.4). Raises RequestError."""
    match = _RANGE.fullmatch(text)
    if match:
        first, last, total = [int(number) for number in match.groups()]
        if first <= last < total and last - first + 1 == length:
            return ContentRange(first, total)
    what = "'{}' is no range of a body of {} bytes".format(text[:60], length)
    raise RequestError(what, "Content-Range", "send 'bytes FIRST-LAST/TOTAL'")
