"""`edgesynth-agent health`: does the agent behind a socket answer? For HEALTHCHECK of a container, and for scripts."""

import http.client
import json
import socket
import sys

__all__ = ["run_health"]

_MAX_ANSWER_BYTES = 64 * 1024


def run_health(socket_path: str, limit_s: float) -> int:
    """Print what /v1/health says; the exit code: 0 when that is ok, else 1 with the reason on stderr.

    `limit_s` bounds each wait for the agent: it takes a moment, however busy the device is.
    """
    connection = http.client.HTTPConnection("localhost")
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(limit_s)
            channel.connect(socket_path)
            connection.sock = channel
            connection.request("GET", "/v1/health")
            response = connection.getresponse()
            answer = response.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return _unhealthy(socket_path, str(error) or type(error).__name__, "is it started, and may you open it?")
    if response.status != 200 or not _says_ok(answer):
        return _unhealthy(socket_path, "it answered {}: {:.200}".format(response.status, answer), "see its log")
    sys.stdout.write(answer + "\n")
    return 0


def _says_ok(answer: str) -> bool:
    try:
        document = json.loads(answer)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("status") == "ok"


def _unhealthy(socket_path: str, what: str, next_step: str) -> int:
    sys.stderr.write("edgesynth-agent: socket {}: {}; {}\n".format(socket_path, what, next_step))
    return 1
