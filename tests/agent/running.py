"""An agent as a process, for tests, and what can be seen of its children."""

import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.agent import api

__all__ = ["RunningAgent", "children", "gone", "job_request", "rest_of", "status_of", "until"]

_LIMIT_S = 20.0


def until(condition):
    """Wait for something that must come true, and return it."""
    end_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < end_s:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come true")


def children(pid):
    """Process ids of the living children of a process."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(folder.name))
    return found


def gone(pid):
    """Whether a process has ended, be it not yet reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def status_of(answer):
    """The status of the first answer; None when the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


def rest_of(connection):
    said = b""
    with contextlib.suppress(OSError):
        for data in iter(lambda: connection.recv(65536), b""):
            said += data
    return said


def job_request(model, window_s=0.02, limit_s=60, **changes):
    schedule = {"warmup_min_s": 0, "warmup_max_s": 0.05, "windows": 3, "window_s": window_s}
    return {"model": model, "target": "host", "batch": 1, "limit_s": limit_s, "schedule": schedule, **changes}


class RunningAgent:
    """`edgesynth-agent serve` in `folder`, spoken to in plain HTTP."""

    def __init__(self, folder, *options, command=(sys.executable, "-m", "edgesynth_agent")):
        self.socket_path = folder / "agent.sock"
        self.lease = None
        self.process = subprocess.Popen(
            [*command, "serve", "--socket", self.socket_path, "--store", folder / "models", *options],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until(self._answers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(_LIMIT_S)
        finally:
            self.process.kill()  # does nothing to one that has ended
            self.process.stdin.close()
            self.process.stderr.close()

    def _answers(self):
        assert self.process.poll() is None, self.process.stderr.read()
        # Reset: the socket of an agent that was killed lives on for as long as a child of it has not yet become another
        # program, and takes connections with it when it goes.
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
            return self.ask("GET", "/v1/health")[0] == 200

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_LIMIT_S)
        try:
            until(lambda: self._connected(connection))
        except (OSError, AssertionError):
            connection.close()
            raise
        return connection

    def _connected(self, connection):
        try:
            connection.connect(str(self.socket_path))
        except BlockingIOError:  # as many wait already as the agent lets wait
            return False
        return True

    def say(self, data):
        """Raw bytes in, raw bytes out until the agent closes."""
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def exchange(self, method, path, body=None, headers=None):
        """Status, headers and the bytes of the body."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = self.connect()
        try:
            with contextlib.suppress(BrokenPipeError):  # it may refuse a body without reading it
                connection.request(method, path, body=body, headers=headers or {})
            with connection.getresponse() as response:
                data = response.read()
                api.check(method, path, response.status, response.headers.get("Content-Type"), data)
                return response.status, response.headers, data
        finally:
            connection.close()

    def ask(self, method, path, body=None, headers=None):
        """Status and document."""
        status, _, data = self.exchange(method, path, body, headers)
        return status, json.loads(data) if data else None

    def upload(self, path):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        assert self.ask("PUT", f"/v1/models/{digest}", data)[0] == 201
        return digest

    def take_lease(self, ttl_s=600, holder="test@here"):
        status, lease = self.ask("POST", "/v1/leases", json.dumps({"holder": holder, "ttl_s": ttl_s}))
        assert status == 201, lease
        self.lease = lease["id"]
        return self.lease

    def give_back(self):
        """End the lease that was taken here, if one was."""
        if self.lease is not None:
            self.ask("DELETE", f"/v1/leases/{self.lease}")
            self.lease = None

    def leased(self):
        """The headers of a job; takes the lease for a long time, unless that was done."""
        return {"Edgesynth-Lease": self.lease or self.take_lease()}

    def submit(self, request, **headers):
        status, job = self.ask("POST", "/v1/jobs", json.dumps(request), {**self.leased(), **headers})
        assert status == 201, job
        return job["id"]

    def job(self, job_id):
        return self.ask("GET", f"/v1/jobs/{job_id}")[1]

    def ended(self, job_id):
        """The job, once it has ended."""
        until(lambda: self.job(job_id)["status"] in ("done", "failed", "cancelled"))
        return self.job(job_id)

    def measuring(self, job_id):
        """Process id of the worker, once it measures."""
        until(lambda: self.job(job_id)["stage"] == "measuring")
        (pid,) = children(self.process.pid)
        return pid

    def sockets(self):
        """Inodes of the sockets that the agent itself holds."""
        links = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                links.append(os.readlink(str(link)))
        return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
