"""What the agent answers to each request of its API: the routes, and the things behind them."""

import pkgutil
import re
from typing import Any, NamedTuple, Optional

from edgesynth_agent import __version__
from edgesynth_agent.clock import Clock
from edgesynth_agent.device import Device
from edgesynth_agent.errors import BusyError, NotFoundError, RequestError
from edgesynth_agent.job_store import TERMINAL, JobStore
from edgesynth_agent.jobs import JobRunner
from edgesynth_agent.jsonhttp import JsonHandler, Route
from edgesynth_agent.leases import Leases
from edgesynth_agent.metrics import CONTENT_TYPE, metrics_text
from edgesynth_agent.plan_folder import PlanFolder
from edgesynth_agent.replies import FileReply, JsonReply, LinesReply, Reply, TextReply
from edgesynth_agent.request import parse_job_request, parse_lease_request
from edgesynth_agent.requestio import Body, parse_content_range
from edgesynth_agent.store import Uploads, UploadStore
from edgesynth_agent.traces import TraceFolder

__all__ = ["ApiHandler", "Parts"]

_MOST_KEY = 200


class Parts(NamedTuple):
    """What the API is about. Each is safe for several threads."""

    clock: Clock
    device: Device
    uploads: Uploads
    plans: PlanFolder
    jobs: JobStore
    traces: TraceFolder
    leases: Leases
    runner: JobRunner
    begin_s: float
    """When the agent started, by `clock`."""

    def stop(self) -> None:
        """End the running job."""
        self.leases.stop()
        self.runner.stop()


class QuietBody:
    """The body of an upload, which ends with BusyError as soon as it would disturb the job of somebody else."""

    def __init__(self, body: Body, runner: JobRunner, lease_id: Optional[str]) -> None:
        runner.require_quiet(lease_id)
        self._body = body
        self._runner = runner
        self._lease_id = lease_id

    def read(self, size: int) -> bytes:
        data = self._body.read(size)  # it may have waited for long, and a job have begun meanwhile
        self._runner.require_quiet(self._lease_id)
        return data


class ApiHandler(JsonHandler):
    """One connection to the agent. Its server has `parts`."""

    server_version = "edgesynth-agent/" + __version__
    sys_version = ""
    routes = [
        Route("GET", "/v1/health", "health"),
        Route("GET", "/v1/device", "device"),
        Route("GET", "/v1/openapi.json", "openapi"),
        Route("GET", "/metrics", "metrics"),
        Route("GET", "/v1/lease", "lease"),
        Route("POST", "/v1/leases", "take_lease"),
        Route("POST", "/v1/leases/{lease}/heartbeat", "heartbeat"),
        Route("DELETE", "/v1/leases/{lease}", "release"),
        Route("GET", "/v1/models/{sha256}", "model"),
        Route("HEAD", "/v1/models/{sha256}", "model"),
        Route("PUT", "/v1/models/{sha256}", "put_model"),
        Route("GET", "/v1/files/{sha256}", "file"),
        Route("HEAD", "/v1/files/{sha256}", "file"),
        Route("PUT", "/v1/files/{sha256}", "put_file"),
        Route("GET", "/v1/jobs", "jobs"),
        Route("POST", "/v1/jobs", "submit"),
        Route("GET", "/v1/jobs/{job}", "job"),
        Route("DELETE", "/v1/jobs/{job}", "cancel"),
        Route("GET", "/v1/jobs/{job}/events", "events", ("after",)),
        Route("GET", "/v1/jobs/{job}/result", "result"),
        Route("GET", "/v1/jobs/{job}/trace", "trace"),
    ]
    server: Any

    @property
    def parts(self) -> Parts:
        parts: Parts = self.server.parts
        return parts

    def health(self) -> Reply:
        running = self.parts.runner.running
        warnings = [
            "the job store was damaged, and what it knew is lost but for {}".format(path)
            for path in self.parts.jobs.damaged
        ]
        document = {"status": "ok", "version": __version__, "busy": running is not None, "job": running}
        return JsonReply(200, dict(document, warnings=warnings))

    def device(self) -> Reply:
        return JsonReply(200, self.parts.device.facts())

    def openapi(self) -> Reply:
        data = pkgutil.get_data("edgesynth_agent", "schemas/openapi.json") or b""
        return TextReply(data.decode(), "application/json")

    def metrics(self) -> Reply:
        parts = self.parts
        text = metrics_text(
            uptime_s=parts.clock.now_s() - parts.begin_s,
            jobs=parts.jobs.counts(),
            busy=parts.runner.running is not None,
            leased=parts.leases.current() is not None,
            damaged_job_stores=len(parts.jobs.damaged),
            stored={
                "models": parts.uploads.models.total_bytes(),
                "files": parts.uploads.files.total_bytes(),
                "plans": parts.plans.total_bytes(),
                "traces": parts.traces.total_bytes(),
            },
            connections=self.server.connections(),
            now=parts.device.now(power=parts.runner.running is None),
        )
        return TextReply(text, CONTENT_TYPE)

    def lease(self) -> Reply:
        return JsonReply(200, {"lease": self.parts.leases.current()})

    def take_lease(self) -> Reply:
        request = parse_lease_request(self.read_json())
        return JsonReply(201, self.parts.leases.grant(request.holder, request.ttl_s))

    def heartbeat(self, lease_id: str) -> Reply:
        self.body.read_all()
        return JsonReply(200, self.parts.leases.heartbeat(lease_id))

    def release(self, lease_id: str) -> Reply:
        return JsonReply(200, self.parts.leases.release(lease_id))

    def model(self, digest: str) -> Reply:
        return self._upload(self.parts.uploads.models, digest)

    def put_model(self, digest: str) -> Reply:
        return self._put(self.parts.uploads.models, digest)

    def file(self, digest: str) -> Reply:
        return self._upload(self.parts.uploads.files, digest)

    def put_file(self, digest: str) -> Reply:
        return self._put(self.parts.uploads.files, digest)

    def jobs(self) -> Reply:
        return JsonReply(200, {"jobs": self.parts.jobs.latest()})

    def submit(self) -> Reply:
        request = parse_job_request(self.read_json())
        key = self.headers.get("Idempotency-Key")
        if key is not None and not 1 <= len(key) <= _MOST_KEY:
            what = "it is not of 1 to {} characters".format(_MOST_KEY)
            raise RequestError(what, "header Idempotency-Key", "give a name that no other job has")
        return JsonReply(201, self.parts.runner.submit(request, self.headers.get("Edgesynth-Lease"), key))

    def job(self, job_id: str) -> Reply:
        return JsonReply(200, self.parts.jobs.document(job_id))

    def cancel(self, job_id: str) -> Reply:
        return JsonReply(200, self.parts.runner.cancel(job_id))

    def events(self, job_id: str) -> Reply:
        text = self.query.get("after", "0")
        if not re.fullmatch("[0-9]{1,12}", text):
            raise RequestError("'{}' is no number of an event".format(text[:40]), "query parameter 'after'", "give one")
        self.parts.jobs.document(job_id)
        return LinesReply(self.parts.runner.events(job_id, int(text), self.still_there))

    def result(self, job_id: str) -> Reply:
        job = self.parts.jobs.document(job_id)
        if job["status"] == "done":
            return JsonReply(200, job["result"])
        where = "job " + job_id
        if job["status"] not in TERMINAL:
            raise BusyError("it is {}, and has no result yet".format(job["status"]), where, "wait for its end")
        raise NotFoundError("it is {}, so it has no result".format(job["status"]), where, "see the error of the job")

    def trace(self, job_id: str) -> Reply:
        if self.parts.jobs.document(job_id)["trace_bytes"] is None:
            what = "it has no trace: it is not done, or the trace is no longer kept"
            raise NotFoundError(what, "job " + job_id, "fetch a trace soon after its job")
        return FileReply(self.parts.traces.path(job_id), "application/gzip")

    def _upload(self, store: UploadStore, digest: str) -> Reply:
        """Whether it is here; how much of it is, where it is not."""
        word, size = store.kind.word, store.bytes_of(digest)
        if size is not None:
            return JsonReply(200, {word: digest, "bytes": size})
        here = store.offset(digest)
        what = "the device has {} bytes of it".format(here) if here else "the device does not have it"
        error = NotFoundError(what, "{} {}".format(word, digest), "upload it, by PUT")
        return JsonReply(404, {"error": error.document()}, {"Upload-Offset": str(here)})

    def _put(self, store: UploadStore, digest: str) -> Reply:
        word, length = store.kind.word, self.body.left
        body = QuietBody(self.body, self.parts.runner, self.headers.get("Edgesynth-Lease"))
        text = self.headers.get("Content-Range")
        if text is None:
            store.put(digest, body, length)
            return JsonReply(201, {word: digest, "bytes": length})
        part = parse_content_range(text, length)
        whole = store.put_part(digest, body, part.first, length, part.total)
        if whole:
            return JsonReply(201, {word: digest, "bytes": part.total})
        here = part.first + length
        return JsonReply(202, {word: digest, "bytes": here}, {"Upload-Offset": str(here)})
