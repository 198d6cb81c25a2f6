"""`edgesynth-agent health`: does the agent behind a socket answer? For HEALTHCHECK of a container, and for scripts."""

import http.client
import json
import socket
import sys
from typing import Any, Dict

from edgesynth_agent.errors import AgentError

__all__ = ["read_health", "run_health"]

_MAX_ANSWER_BYTES = 64 * 1024


def run_health(socket_path: str, limit_s: float) -> int:
    """Print what /v1/health says; the exit code: 0 when that is ok, else 1 with the reason on stderr."""
    try:
        document = read_health(socket_path, limit_s)
    except AgentError as error:
        sys.stderr.write("edgesynth-agent: {}\n".format(error))
        return 1
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


def read_health(socket_path: str, limit_s: float) -> Dict[str, Any]:
    """What /v1/health says. Raises AgentError unless that is ok.

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
        what = str(error) or type(error).__name__
        raise AgentError(what, "socket " + socket_path, "is it started, and may you open it?") from error
    document = _document(answer)
    if response.status != 200 or document.get("status") != "ok":
        what = "it answered {}: {:.200}".format(response.status, answer)
        raise AgentError(what, "socket " + socket_path, "see its log")
    return document


def _document(answer: str) -> Dict[str, Any]:
    try:
        document = json.loads(answer)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
