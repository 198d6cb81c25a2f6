"""The workstation's end of the agent's API, over a Unix socket."""

import hashlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgesynth.devices.deadline import Deadline
from edgesynth.devices.jobs import Failure, Job, JobRequest, Lease
from edgesynth.devices.lease import HeldLease
from edgesynth.errors import DeviceError, ModelFileError
from edgesynth.records import Measurement

__all__ = ["AgentClient", "Health"]

_REPLY_LIMIT_S = 90.0  # the first question about the device waits for its runtimes to be imported
_TTL_S = 30.0
_POLL_S = 0.2  # each question takes the device's attention away from what it measures


_Model = TypeVar("_Model", bound=BaseModel)


class Health(BaseModel):
    """That an agent answers, and which job runs, if one does. A newer agent may say more."""

    model_config = ConfigDict(frozen=True)

    status: str
    version: str
    busy: bool


class AgentClient:
    """Talks to one agent. Every failure is a DeviceError that names `device`, and says what to do next.

    Each question is a connection of its own, so a client holds nothing open and several threads may share it.
    """

    def __init__(self, socket_path: Path, device: str) -> None:
        self._socket_path = socket_path
        self._device = device

    def health(self) -> Health:
        return self._parsed(Health, self._ask("GET", "/v1/health"))

    def device(self) -> dict[str, Any]:
        """The facts about the device, as the agent tells them."""
        return self._ask("GET", "/v1/device")

    def upload(self, model: Path, kind: Literal["models", "files"] = "models") -> str:
        """Bring a model, or a file that belongs to one, onto the device unless it is there; its SHA-256.

        Raises ModelFileError if it is unreadable.
        """
        try:
            with model.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                length = file.seek(0, 2)
                file.seek(0)
                if not self._has(f"/v1/{kind}/{digest}"):
                    self._ask("PUT", f"/v1/{kind}/{digest}", file, length)
        except OSError as error:
            raise ModelFileError(f"{model}: {error.strerror or error}; give a file that can be read") from error
        return digest

    def lease(self, holder: str, ttl_s: float = _TTL_S) -> HeldLease:
        """Take the device, for a `with` block; the agent refuses it while somebody else has it."""
        body = json.dumps({"holder": holder, "ttl_s": ttl_s}).encode()
        lease = self._parsed(Lease, self._ask("POST", "/v1/leases", body))
        return HeldLease(self, lease.id, lease.ttl_s)

    def heartbeat(self, lease_id: str) -> None:
        """The holder lives; the time of the lease begins anew."""
        self._ask("POST", f"/v1/leases/{lease_id}/heartbeat", b"")

    def release(self, lease_id: str) -> None:
        """Give the device back. A job that still runs there is cancelled."""
        self._ask("DELETE", f"/v1/leases/{lease_id}")

    def submit(self, request: JobRequest, lease: HeldLease) -> Job:
        """Start a job. The agent refuses it while another one runs, and without the lease."""
        headers = {"Edgesynth-Lease": lease.id}
        return self._parsed(
            Job, self._ask("POST", "/v1/jobs", request.model_dump_json(exclude_none=True).encode(), headers=headers)
        )

    def job(self, job_id: str) -> Job:
        return self._parsed(Job, self._ask("GET", f"/v1/jobs/{job_id}"))

    def cancel(self, job_id: str) -> Job:
        """End a job; one that has ended stays as it is."""
        return self._parsed(Job, self._ask("DELETE", f"/v1/jobs/{job_id}"))

    def wait(
        self, job_id: str, deadline: Deadline, on_progress: Callable[[str, float], None] | None = None
    ) -> Measurement:
        """The result of a job. `on_progress(stage, share)` is called whenever either has changed.

        The job goes on when this raises, be it for the deadline or for an interrupt: `cancel` ends it.
        """
        told = None
        while True:
            job = self.job(job_id)
            if on_progress is not None and told != (job.stage, job.progress):
                told = (job.stage, job.progress)
                on_progress(*told)
            if job.ended:
                return self._result(job)
            if deadline.expired:
                raise self._error(
                    f"job {job_id} was still {job.stage} after {deadline.after_s:g} s; allow more time or fewer windows"
                )
            time.sleep(min(_POLL_S, deadline.remaining_s))

    def _result(self, job: Job) -> Measurement:
        if job.status == "done":
            return self._parsed(Measurement, job.result)
        reason = "it was cancelled; submit it again" if job.error is None else str(job.error)
        raise self._error(f"job {job.id} has no result: {reason}")

    def _has(self, path: str) -> bool:
        status, _ = self._exchange("GET", path)
        return status == 200

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        length: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer to a question that must be answered well."""
        size = len(body) if isinstance(body, bytes) else length
        status, document = self._exchange(method, path, body, size, headers)
        if status in (200, 201):
            return document
        raise self._error(str(self._parsed(Failure, document.get("error"))))

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        length: int = 0,
        extra: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        connection = _UnixConnection(self._socket_path, _REPLY_LIMIT_S)
        headers = dict(extra or {}) if body is None else {"Content-Length": str(length), **(extra or {})}
        try:
            try:
                connection.request(method, path, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                if connection.sock is None:
                    raise
                # The agent closed in the middle of the body, so its reply lies ready and says why.
            with connection.getresponse() as response:
                status, data = response.status, response.read()
            document = json.loads(data)
        except FileNotFoundError as error:
            raise self._error(f"there is no socket {self._socket_path}; start the agent") from error
        except ConnectionRefusedError as error:
            raise self._error(f"nobody listens on {self._socket_path}; start the agent") from error
        except TimeoutError as error:
            raise self._error(f"no answer to {method} {path} in {_REPLY_LIMIT_S:g} s; restart the agent") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._error(f"the connection broke ({error!r}) at {method} {path}; see the agent's log") from error
        except ValueError as error:
            raise self._error(f"the answer to {method} {path} is no JSON; is an edgesynth agent there?") from error
        finally:
            connection.close()
        if not isinstance(document, dict):
            raise self._error(f"the answer to {method} {path} is no JSON object; is an edgesynth agent there?")
        return status, document

    def _parsed(self, model: type[_Model], document: object) -> _Model:
        try:
            return model.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or model.__name__
            raise self._error(
                f"its answer is no {model.__name__}: {where}: {first['msg']}; update the agent or the workstation"
            ) from error

    def _error(self, message: str) -> DeviceError:
        return DeviceError(f"{self._device}: {message}")


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
