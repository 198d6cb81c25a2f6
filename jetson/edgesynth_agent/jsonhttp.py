"""JSON over HTTP/1.1 on the standard library's server: routing, bodies and errors, nothing about measuring."""

import json
import logging
import re
import socket
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, Dict, List, NamedTuple, Tuple

from edgesynth_agent.errors import AgentError, NotFoundError, RequestError, TooLargeError, internal_error

__all__ = ["Body", "JsonHandler", "Route"]

_MAX_JSON_BYTES = 64 * 1024
_IDLE_LIMIT_S = 30
_BODY_LIMIT_S = 600
_UNREAD_LIMIT_BYTES, _UNREAD_LIMIT_S, _UNREAD_IDLE_S = 1024 * 1024, 2.0, 0.2

_log = logging.getLogger("edgesynth_agent")


class Route(NamedTuple):
    """`handler` names a method that takes the groups of `pattern` and returns (status, document)."""

    method: str
    pattern: str
    handler: str


class Body:
    """The body of one request: reads no further than its end, and not for longer than its time limit."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self._deadline_s = time.monotonic() + _BODY_LIMIT_S
        self.left = length

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. Raises socket.timeout."""
        if time.monotonic() > self._deadline_s:
            raise socket.timeout("the body took longer than {} s".format(_BODY_LIMIT_S))
        data: bytes = self._stream.read(min(size, self.left))
        self.left -= len(data)
        return data


class JsonHandler(BaseHTTPRequestHandler):
    """Answers every request, also a bad one, with one JSON document; an error is {"error": {what, where, next}}.

    A connection is kept until the client closes it, is idle for too long, or sent what was not read.
    """

    routes: List[Route] = []
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_LIMIT_S

    def address_string(self) -> str:
        return "local"  # a Unix socket has no address to show

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        _log.debug(format, *args)

    def _dispatch(self) -> None:
        try:
            self.body = Body(self.rfile, 0)
            self.body = Body(self.rfile, self._content_length())
            handler, groups = self._find_route()
            status, document = getattr(self, handler)(*groups)
        except AgentError as error:
            status, document = _failure(error)
        except socket.timeout:
            status, document = _failure(
                RequestError("nothing came for too long", "the body", "send it again", status=408)
            )
        except ConnectionError:
            self.close_connection = True
            return
        except Exception as failure:
            _log.exception("%s %s", self.command, self.path)
            status, document = _failure(internal_error(failure, self.path))
        if self.body.left:
            self.close_connection = True
        self._reply(status, document)
        if self.body.left:
            self._discard_unread()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = _dispatch  # noqa: N815

    def send_error(self, code: int, message: Any = None, explain: Any = None) -> None:
        """What the base class found wrong with a request, before it came to `_dispatch`."""
        error = RequestError(str(message or "bad request"), "the request", "speak HTTP/1.1 as the API describes it")
        self.close_connection = True
        self._reply(code, {"error": error.document()})
        self._discard_unread()

    def _discard_unread(self) -> None:
        """A socket that is closed with something unread is reset, and the answer may be lost with it."""
        deadline_s, left = time.monotonic() + _UNREAD_LIMIT_S, _UNREAD_LIMIT_BYTES
        try:
            self.connection.settimeout(_UNREAD_IDLE_S)
            while left > 0 and time.monotonic() < deadline_s:
                size = len(self.connection.recv(65536))
                if size == 0:
                    return
                left -= size
        except OSError:  # nothing more came, or the client went away
            return

    def read_json(self) -> Any:
        """The body as JSON. Raises RequestError, TooLargeError."""
        if self.body.left > _MAX_JSON_BYTES:
            raise TooLargeError("it is larger than {} bytes".format(_MAX_JSON_BYTES), "the body", "send less")
        try:
            return json.loads(self.body.read(self.body.left).decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RequestError("it is no JSON ({})".format(error), "the body", "send a JSON object") from error

    def _content_length(self) -> int:
        if self.headers.get("Transfer-Encoding") is not None:
            self.close_connection = True
            raise RequestError("it has no Content-Length", "the request", "send the body in one piece", status=411)
        text = self.headers.get("Content-Length")
        if text is None:
            if self.command in ("PUT", "POST"):
                self.close_connection = True
                raise RequestError("it has no Content-Length", "the request", "send it", status=411)
            return 0
        if not re.fullmatch("[0-9]{1,18}", text):
            self.close_connection = True
            raise RequestError("'{}' is no length".format(text[:40]), "Content-Length", "send the number of bytes")
        return int(text)

    def _find_route(self) -> Tuple[str, Tuple[str, ...]]:
        allowed = []
        for route in self.routes:
            match = re.fullmatch(route.pattern, self.path)
            if match and route.method == self.command:
                return route.handler, match.groups()
            if match:
                allowed.append(route.method)
        if allowed:
            where = "{} {}".format(self.command, self.path[:200])
            raise RequestError("no such method here", where, "use " + " or ".join(allowed), status=405)
        raise NotFoundError("there is nothing", self.path[:200], "ask GET /v1/health whether this is the right API")

    def _reply(self, status: int, document: Dict[str, Any]) -> None:
        data = json.dumps(document, allow_nan=False).encode() + b"\n"
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
        except OSError:  # the client went away, or does not read
            self.close_connection = True


def _failure(error: AgentError) -> Tuple[int, Dict[str, Any]]:
    return error.status, {"error": error.document()}


def _refuse_constant(name: str) -> None:
    raise ValueError("{} is no JSON number".format(name))
