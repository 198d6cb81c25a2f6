"""The workstation's end of the agent's API, over a Unix socket."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgesynth.devices.deadline import Deadline
from edgesynth.devices.http import AgentHttp
from edgesynth.devices.jobs import Job, JobRequest, Lease
from edgesynth.devices.lease import HeldLease
from edgesynth.devices.upload import upload
from edgesynth.devices.watch import watch
from edgesynth.records import Measurement

__all__ = ["AgentClient", "Health"]

_TTL_S = 30.0
_LARGEST_TRACE = 256 * 1024 * 1024

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
        self.name = device
        self._http = AgentHttp(socket_path, device)

    def health(self) -> Health:
        return self._parsed(Health, self._ask("GET", "/v1/health"))

    def device(self) -> dict[str, Any]:
        """The facts about the device, as the agent tells them."""
        return self._ask("GET", "/v1/device")

    def upload(self, model: Path, lease: HeldLease | None = None) -> str:
        """Bring a model onto the device unless it is there; its SHA-256. Raises ModelFileError if it is unreadable.

        A broken connection is taken up where it broke. While a job runs, only its holder may upload, with the `lease`.
        """
        return upload(self._http, "models", model, _with(lease))

    def upload_file(self, path: Path, lease: HeldLease | None = None) -> str:
        """The same for what belongs to a model: a reference, or a calibration cache."""
        return upload(self._http, "files", path, _with(lease))

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
        # A field that is left out is one that an earlier agent need not know.
        body = request.model_dump_json(exclude_none=True).encode()
        return self._parsed(Job, self._ask("POST", "/v1/jobs", body, _with(lease)))

    def job(self, job_id: str) -> Job:
        return self._parsed(Job, self._ask("GET", f"/v1/jobs/{job_id}"))

    def cancel(self, job_id: str) -> Job:
        """End a job; one that has ended stays as it is."""
        return self._parsed(Job, self._ask("DELETE", f"/v1/jobs/{job_id}"))

    def trace(self, job_id: str) -> Iterator[bytes]:
        """The raw samples of a job that is done, a gzip file; the agent keeps the newest jobs' only."""
        return self._http.chunks(f"/v1/jobs/{job_id}/trace", _LARGEST_TRACE)

    def wait(
        self, job_id: str, deadline: Deadline, on_progress: Callable[[str, float], None] | None = None
    ) -> Measurement:
        """The result of a job. `on_progress(stage, share)` is called whenever either has changed.

        The job goes on when this raises, be it for the deadline or for an interrupt: `cancel` ends it.
        """
        told = None
        for now in watch(self._http, lambda: self.job(job_id), job_id, deadline):
            if on_progress is not None and told != (now.stage, now.progress):
                told = (now.stage, now.progress)
                on_progress(*told)
            if isinstance(now, Job) and now.ended:
                return self._result(now)
        raise self._http.error(
            f"job {job_id} was still {now.stage} after {deadline.after_s:g} s; allow more time or fewer windows"
        )

    def _result(self, job: Job) -> Measurement:
        if job.status == "done":
            return self._parsed(Measurement, job.result)
        reason = "it was cancelled; submit it again" if job.error is None else str(job.error)
        raise self._http.error(f"job {job.id} has no result: {reason}")

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer to a question that must be answered well."""
        answer = self._http.exchange(method, path, body, headers=headers)
        if answer.status in (200, 201):
            return answer.document
        raise self._http.refusal(answer)

    def _parsed(self, model: type[_Model], document: object) -> _Model:
        try:
            return model.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or model.__name__
            raise self._http.error(
                f"its answer is no {model.__name__}: {where}: {first['msg']}; update the agent or the workstation"
            ) from error


def _with(lease: HeldLease | None) -> dict[str, str]:
    return {} if lease is None else {"Edgesynth-Lease": lease.id}
