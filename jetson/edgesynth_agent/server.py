"""The agent's API on a Unix socket. It listens on nothing else; who may open the socket may use the device.

GET    /v1/health            is it alive, is a job running
GET    /v1/device            what device this is
GET    /v1/models/SHA256     does it have that model (404 if not)
PUT    /v1/models/SHA256     store the ONNX in the body under its digest
POST   /v1/jobs              measure a stored model (`request.JobRequest`); 409 while a job runs
GET    /v1/jobs/ID           status, progress, and in the end result or error
DELETE /v1/jobs/ID           cancel
"""

import errno
import logging
import os
import socket
import socketserver
import stat
import threading
from typing import Any, Callable, Dict, Optional, Tuple

from edgesynth_agent import __version__
from edgesynth_agent.device import Device
from edgesynth_agent.errors import AgentError, BusyError, RequestError
from edgesynth_agent.jobs import JobRunner
from edgesynth_agent.jsonhttp import JsonHandler, Route
from edgesynth_agent.request import parse_job_request
from edgesynth_agent.store import ModelStore

__all__ = ["AgentServer"]

_MAX_CONNECTIONS = 16
_MAX_PATH_BYTES = 107  # sun_path of Linux, less the closing NUL

_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_log = logging.getLogger("edgesynth_agent")

Answer = Tuple[int, Dict[str, Any]]


class _Handler(JsonHandler):
    server_version = "edgesynth-agent/" + __version__
    sys_version = ""
    routes = [
        Route("GET", "/v1/health", "health"),
        Route("GET", "/v1/device", "device"),
        Route("GET", "/v1/models/([0-9a-f]{64})", "has_model"),
        Route("HEAD", "/v1/models/([0-9a-f]{64})", "has_model"),
        Route("PUT", "/v1/models/([0-9a-f]{64})", "put_model"),
        Route("POST", "/v1/jobs", "submit"),
        Route("GET", "/v1/jobs/([0-9a-f]+)", "job"),
        Route("DELETE", "/v1/jobs/([0-9a-f]+)", "cancel"),
    ]
    server: "AgentServer"

    def health(self) -> Answer:
        return 200, {"status": "ok", "version": __version__, "busy": self.server.jobs.busy}

    def device(self) -> Answer:
        return 200, self.server.device.facts()

    def has_model(self, digest: str) -> Answer:
        return 200, {"model": digest, "bytes": os.path.getsize(self.server.store.path(digest))}

    def put_model(self, digest: str) -> Answer:
        length = self.body.left
        self.server.store.put(digest, self.body, length)
        return 201, {"model": digest, "bytes": length}

    def submit(self) -> Answer:
        return 201, self.server.jobs.submit(parse_job_request(self.read_json()))

    def job(self, job_id: str) -> Answer:
        return 200, self.server.jobs.document(job_id)

    def cancel(self, job_id: str) -> Answer:
        return 200, self.server.jobs.cancel(job_id)


class AgentServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Bound and listening once constructed; `serve_forever` in some thread, then `stop` from another.

    `socket_mode` is that of the socket's file: who may write to it may connect. `on_loop` is called on every turn of
    the loop that accepts connections, also while nobody connects; it must return at once.
    Raises BusyError when another agent listens on that path, RequestError when the path cannot be a socket's.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self,
        socket_path: str,
        store: ModelStore,
        device: Device,
        jobs: JobRunner,
        socket_mode: int = 0o600,
        on_loop: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.device = device
        self.jobs = jobs
        self._on_loop = on_loop
        self._path = os.path.abspath(socket_path)
        self._inode: Optional[int] = None
        self._connections = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        _make_way(self._path)
        # Set before there is a socket, so that there is no moment at which others may connect.
        umask = os.umask(0o777 & ~socket_mode)
        try:
            super().__init__(self._path, _Handler)
        except OSError as error:
            raise _unusable(self._path, error.strerror or str(error)) from error
        finally:
            os.umask(umask)
        self._inode = os.stat(self._path).st_ino

    def stop(self) -> None:
        """End the running job, stop answering, remove the socket."""
        self.shutdown()
        self.jobs.stop()
        self.server_close()
        try:
            if os.stat(self._path).st_ino == self._inode:  # not that of an agent that took over
                os.unlink(self._path)
        except FileNotFoundError:
            pass

    def service_actions(self) -> None:
        """Called by the base class on every turn of its loop."""
        self._on_loop()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._connections.acquire(blocking=False):
            _log.warning("more than %d connections at once", _MAX_CONNECTIONS)
            request.sendall(_TOO_MANY)  # fits into the buffer of a fresh socket, so it does not block
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

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
