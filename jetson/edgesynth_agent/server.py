"""The agent's API on a Unix socket. It listens on nothing else; who may open the socket may use the device.

`schemas/openapi.json` describes it; `GET /v1/openapi.json` answers with that.
"""

import errno
import logging
import os
import socket
import socketserver
import stat
import threading
from typing import Any, Callable, Optional

from edgesynth_agent.api import ApiHandler, Parts
from edgesynth_agent.errors import AgentError, BusyError, RequestError

__all__ = ["AgentServer"]

_MAX_CONNECTIONS = 32
_MAX_PATH_BYTES = 107  # sun_path of Linux, less the closing NUL

_TOO_MANY_BODY = (
    b'{"error": {"what": "there are too many connections", "where": "the agent", "next": "close some, or wait"}}\n'
)
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_TOO_MANY_BODY), _TOO_MANY_BODY)
)

_log = logging.getLogger("edgesynth_agent")


class AgentServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Bound and listening once constructed; `serve_forever` in some thread, then `stop` from another.

    `socket_mode` is that of the socket's file: who may write to it may connect. `on_loop` is called on every turn of
    the loop that accepts connections, also while nobody connects; it must return at once.
    Raises BusyError when another agent listens on that path, RequestError when the path cannot be a socket's.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        socket_path: str,
        parts: Parts,
        socket_mode: int = 0o600,
        on_loop: Callable[[], None] = lambda: None,
    ) -> None:
        self.parts = parts
        self._on_loop = on_loop
        self._open = 0
        self._path = os.path.abspath(socket_path)
        self._inode: Optional[int] = None
        self._counting = threading.Lock()
        _make_way(self._path)
        # Set before there is a socket, so that there is no moment at which others may connect.
        umask = os.umask(0o777 & ~socket_mode)
        try:
            super().__init__(self._path, ApiHandler)
        except OSError as error:
            raise _unusable(self._path, error.strerror or str(error)) from error
        finally:
            os.umask(umask)
        self._inode = os.stat(self._path).st_ino

    def stop(self) -> None:
        """End the running job, stop answering, remove the socket."""
        self.shutdown()
        self.parts.stop()
        self.server_close()
        try:
            if os.stat(self._path).st_ino == self._inode:  # not that of an agent that took over
                os.unlink(self._path)
        except FileNotFoundError:
            pass

    def connections(self) -> int:
        """How many there are now."""
        return self._open

    def service_actions(self) -> None:
        """Called by the base class on every turn of its loop."""
        self._on_loop()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._counting:
            full = self._open >= _MAX_CONNECTIONS
            self._open += not full
        if full:
            _log.warning("more than %d connections at once", _MAX_CONNECTIONS)
            request.setblocking(False)
            try:
                request.send(_TOO_MANY)  # fits into the buffer of a fresh socket
            except OSError:
                pass
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._counting:
                self._open -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke outside of a request. The base class prints a traceback."""
        _log.debug("a connection broke", exc_info=True)


def _unusable(path: str, what: str) -> AgentError:
    return RequestError(what, "socket " + path, "give another --socket")


def _make_way(path: str) -> None:
    """Remove what an agent left that was killed."""
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise _unusable(path, "the path is longer than the {} bytes of a socket's".format(_MAX_PATH_BYTES))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    if not stat.S_ISSOCK(mode):
        raise _unusable(path, "there is a file of that name, and it is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        code = probe.connect_ex(path)
    if code != errno.ECONNREFUSED:
        raise BusyError("an agent listens there already", "socket " + path, "stop it, or give another --socket")
    os.unlink(path)
