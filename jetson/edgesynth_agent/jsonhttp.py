"""JSON over HTTP/1.1 on the standard library's server: routing, bodies and errors, nothing about measuring."""

import io
import json
import logging
import os
import re
import select
import shutil
import socket
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler
from typing import Any, Dict, List, NamedTuple, Tuple

from edgesynth_agent.errors import AgentError, NotFoundError, RequestError, TooLargeError, internal_error
from edgesynth_agent.replies import FileReply, JsonReply, LinesReply, Reply, TextReply
from edgesynth_agent.requestio import Body, DeadlineReader, HeadTooLargeError

__all__ = ["JsonHandler", "Route"]

_MAX_JSON_BYTES = 64 * 1024
_IDLE_LIMIT_S = 30.0
_WRITE_LIMIT_S = 30.0
_UNREAD_LIMIT_BYTES, _UNREAD_LIMIT_S, _UNREAD_IDLE_S = 1024 * 1024, 2.0, 0.2

_log = logging.getLogger("edgesynth_agent")


class Route(NamedTuple):
    """`handler` names a method that takes the groups of `pattern` and returns a Reply.

    `path` is the same in the spelling of OpenAPI, `query` the parameters that may come with it.
    """

    method: str
    path: str
    handler: str
    query: Tuple[str, ...] = ()

    @property
    def pattern(self) -> str:
        return _GROUPS.sub(lambda match: _KINDS[match.group(1)], self.path)


_GROUPS = re.compile(r"\{(\w+)\}")
# What may stand in a path, by the name of the parameter.
_KINDS = {"sha256": "([0-9a-f]{64})", "job": "([0-9a-f]{12})", "lease": "([0-9a-f]{32})"}


class JsonHandler(BaseHTTPRequestHandler):
    """Answers every request, also a bad one, with one document; an error is {"error": {what, where, next}}.

    A connection is kept until the client closes it, is idle for too long, or sent what was not read.
    """

    routes: List[Route] = []
    protocol_version = "HTTP/1.1"
    timeout = _WRITE_LIMIT_S

    def setup(self) -> None:
        super().setup()
        self._reader = DeadlineReader(self.connection)
        self.rfile.close()
        self._stream = io.BufferedReader(self._reader)
        self.rfile = self._stream

    def handle_one_request(self) -> None:
        self.command, self.path, self.requestline, self.request_version = "", "", "", self.protocol_version
        self.close_connection = True
        try:
            self._reader.allow(_IDLE_LIMIT_S)
            if not self._stream.peek(1):
                return
            self._reader.begin_head()
            super().handle_one_request()
        except HeadTooLargeError:
            self.send_error(431, "the head of the request is too large")
        except socket.timeout:
            # Only a request that began has an answer; the base class does the same in silence for the head.
            return
        except ConnectionError:
            self.close_connection = True

    def address_string(self) -> str:
        return "local"  # a Unix socket has no address to show

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        _log.debug(format, *args)

    def _dispatch(self) -> None:
        self.connection.settimeout(_WRITE_LIMIT_S)
        self.body = Body(self.rfile, self._reader, 0)
        try:
            self.body = Body(self.rfile, self._reader, self._content_length())
            handler, groups = self._find_route()
            reply: Reply = getattr(self, handler)(*groups)
        except AgentError as error:
            reply = _failure(error)
        except socket.timeout:
            late = RequestError("nothing came for too long", "the body", "send it again", status=408)
            reply = _failure(late)
        except ConnectionError:
            self.close_connection = True
            return
        except Exception as failure:
            _log.exception("%s %s", self.command, self.path)
            reply = _failure(internal_error(failure, self.path[:200]))
        if self.body.left:
            self.close_connection = True
        self._answer(reply)
        if self.body.left:
            self._discard_unread()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = _dispatch  # noqa: N815

    def send_error(self, code: int, message: Any = None, explain: Any = None) -> None:
        """What the base class found wrong with a request, before it came to `_dispatch`."""
        what = str(message or "bad request")[:200]
        error = RequestError(what, "the request", "speak HTTP/1.1 as the API describes it")
        self.close_connection = True
        self._answer(JsonReply(code, {"error": error.document()}))
        self._discard_unread()

    def still_there(self) -> bool:
        """Whether the client has not closed its end."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if not readable:
            return True
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def read_json(self) -> Any:
        """The body as JSON. Raises RequestError, TooLargeError."""
        if self.body.left > _MAX_JSON_BYTES:
            raise TooLargeError("it is larger than {} bytes".format(_MAX_JSON_BYTES), "the body", "send less")
        try:
            return json.loads(self.body.read_all().decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RequestError("it is no JSON ({})".format(error), "the body", "send a JSON object") from error

    def _content_length(self) -> int:
        if self.headers.get("Transfer-Encoding") is not None:
            self.close_connection = True
            raise RequestError("it has no Content-Length", "the request", "send the body in one piece", status=411)
        texts = set(self.headers.get_all("Content-Length", []))
        if not texts:
            if self.command in ("PUT", "POST"):
                self.close_connection = True
                raise RequestError("it has no Content-Length", "the request", "send it", status=411)
            return 0
        text = str(texts.pop())
        if texts or not re.fullmatch("[0-9]{1,18}", text):
            self.close_connection = True
            raise RequestError("'{}' is no length".format(text[:40]), "Content-Length", "send the number of bytes")
        return int(text)

    def _find_route(self) -> Tuple[str, Tuple[str, ...]]:
        path, _, query = self.path.partition("?")
        allowed = []
        for route in self.routes:
            match = re.fullmatch(route.pattern, path)
            if match and route.method == self.command:
                self.query = _parse_query(query, route.query)
                return route.handler, match.groups()
            if match:
                allowed.append(route.method)
        if allowed:
            where = "{} {}".format(self.command, path[:200])
            raise RequestError("no such method here", where, "use " + " or ".join(allowed), status=405)
        raise NotFoundError("there is nothing", path[:200], "ask GET /v1/openapi.json what there is")

    def _answer(self, reply: Reply) -> None:
        try:
            self.connection.settimeout(_WRITE_LIMIT_S)
            if isinstance(reply, JsonReply):
                data = json.dumps(reply.document, allow_nan=False).encode() + b"\n"
                self._head(reply.status, "application/json", len(data), reply.headers)
                self._write(data)
            elif isinstance(reply, TextReply):
                data = reply.text.encode()
                self._head(200, reply.content_type, len(data), {})
                self._write(data)
            elif isinstance(reply, FileReply):
                self._send_file(reply)
            else:
                self._send_lines(reply)
        except OSError:  # the client went away, or does not read
            self.close_connection = True

    def _send_file(self, reply: FileReply) -> None:
        try:
            file = open(reply.path, "rb")  # noqa: SIM115 - it is closed below
        except OSError as failure:
            what = "it cannot be read: {}".format(failure.strerror)
            self._answer(_failure(NotFoundError(what, self.path[:200], "see whether the job still has it")))
            return
        with file:  # once open it can be sent, whoever removes it
            self._head(200, reply.content_type, os.fstat(file.fileno()).st_size, {})
            if self.command != "HEAD":
                shutil.copyfileobj(file, self.wfile, 64 * 1024)

    def _send_lines(self, reply: LinesReply) -> None:
        """Chunks, where the client knows them; else lines until the connection closes."""
        chunked = self.request_version == "HTTP/1.1"
        self.close_connection = self.close_connection or not chunked
        self._head(200, "application/x-ndjson", None, {"Transfer-Encoding": "chunked"} if chunked else {})
        for document in reply.documents:
            data = json.dumps(document, allow_nan=False).encode() + b"\n"
            self._write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
        self._write(b"0\r\n\r\n" if chunked else b"")

    def _head(self, status: int, content_type: str, length: Any, headers: Dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _write(self, data: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(data)

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


def _failure(error: AgentError) -> JsonReply:
    return JsonReply(error.status, {"error": error.document()})


def _refuse_constant(name: str) -> None:
    raise ValueError("{} is no JSON number".format(name))


def _parse_query(text: str, names: Tuple[str, ...]) -> Dict[str, str]:
    """Raises RequestError for a parameter that there is not, or that comes twice."""
    pairs = urllib.parse.parse_qsl(text, keep_blank_values=True)
    for index, (name, _) in enumerate(pairs):
        if name not in names or name in dict(pairs[:index]):
            what = "it is unknown here, or there twice"
            raise RequestError(what, "query parameter '{}'".format(name[:40]), "leave it out")
    return dict(pairs)
