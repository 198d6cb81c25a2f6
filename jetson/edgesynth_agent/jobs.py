"""Jobs: one at a time, each in its own worker process."""

import collections
import logging
import threading
import uuid
from typing import Any, Callable, Dict, Optional

from edgesynth_agent.child import WorkerProcess
from edgesynth_agent.device import Device
from edgesynth_agent.errors import AgentError, BusyError, NotFoundError, RefusedError, WorkerError, internal_error
from edgesynth_agent.request import JobRequest
from edgesynth_agent.store import ModelStore

__all__ = ["Job", "JobRunner"]

_KEPT_JOBS = 32
_STOP_LIMIT_S = 10.0

_log = logging.getLogger("edgesynth_agent")


class Job:
    """One measurement that was asked for. `status`: queued, running, then done, failed or cancelled for good."""

    def __init__(self, request: JobRequest) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.request = request
        self.status = "queued"
        self.stage = "queued"
        self.progress = 0.0
        self.result: Optional[Dict[str, Any]] = None
        self.error: Optional[Dict[str, str]] = None
        self.cancelled = False
        self.timed_out = False
        self.worker: Optional[WorkerProcess] = None
        self.ended = threading.Event()

    def document(self) -> Dict[str, Any]:
        """The job as the API shows it."""
        return {
            "id": self.id,
            "status": self.status,
            "stage": self.stage,
            "progress": self.progress,
            "request": self.request.document(),
            "result": self.result,
            "error": self.error,
        }


class JobRunner:
    """Runs one job at a time, since two would disturb each other's figures; remembers the last few.

    Safe for several threads. `memory_mib` bounds the address space of a worker; None leaves it open.
    """

    def __init__(
        self,
        store: ModelStore,
        device: Device,
        memory_mib: Optional[int] = None,
        start_worker: Callable[[Dict[str, Any]], WorkerProcess] = WorkerProcess,
    ) -> None:
        self._store = store
        self._device = device
        self._memory_mib = memory_mib
        self._start_worker = start_worker
        self._lock = threading.Lock()
        self._jobs: "collections.OrderedDict[str, Job]" = collections.OrderedDict()
        self._running: Optional[Job] = None

    @property
    def busy(self) -> bool:
        return self._running is not None

    def submit(self, request: JobRequest) -> Dict[str, Any]:
        """Start a job; its document. Raises BusyError, NotFoundError (no such model), RefusedError (other target)."""
        if not self._device.is_target(request.target):
            raise RefusedError(
                "this device is no '{}'".format(request.target), "field 'target'", "ask GET /v1/device for its targets"
            )
        model = self._store.path(request.model)
        with self._lock:
            if self._running is not None:
                raise BusyError(
                    "job {} runs".format(self._running.id), "this device", "wait for it, or cancel it by DELETE"
                )
            job = self._running = Job(request)
            self._jobs[job.id] = job
            if len(self._jobs) > _KEPT_JOBS:
                self._jobs.popitem(last=False)
            threading.Thread(target=self._run, args=(job, model), daemon=True).start()
            return job.document()

    def document(self, job_id: str) -> Dict[str, Any]:
        """Raises NotFoundError."""
        with self._lock:
            return self._find(job_id).document()

    def cancel(self, job_id: str) -> Dict[str, Any]:
        """End a job and wait until its worker is gone; a job that has ended stays as it is. Raises NotFoundError."""
        with self._lock:
            job = self._find(job_id)
            if job is self._running:
                job.cancelled = True
                if job.worker is not None:
                    job.worker.kill()
        job.ended.wait(_STOP_LIMIT_S)
        return self.document(job_id)

    def stop(self) -> None:
        """Cancel what runs. For the end of the agent."""
        running = self._running
        if running is not None:
            self.cancel(running.id)

    def _find(self, job_id: str) -> Job:
        if job_id not in self._jobs:
            raise NotFoundError("there is none", "job " + job_id, "POST a job to /v1/jobs; old ones are forgotten")
        return self._jobs[job_id]

    def _run(self, job: Job, model: str) -> None:
        try:
            self._carry_out(job, model)
        except AgentError as error:
            job.error = error.document()
        except Exception as error:
            _log.exception("job %s", job.id)
            job.error = internal_error(error, "job " + job.id).document()
        with self._lock:
            if job.cancelled:
                job.status, job.result, job.error = "cancelled", None, None
            else:
                job.status = "failed" if job.error else "done"
            job.stage, job.progress, job.worker = job.status, 1.0, None
            self._running = None
        job.ended.set()
        _log.info("job %s: %s%s", job.id, job.status, " ({what})".format(**job.error) if job.error else "")

    def _carry_out(self, job: Job, model: str) -> None:
        order = {
            "do": "measure",
            "model": model,
            "request": job.request.document(),
            "device": self._device.facts(),
            "memory_mib": self._memory_mib,
        }
        with self._lock:
            if job.cancelled:
                return
            worker = job.worker = self._start_worker(order)
            job.status = "running"
        timer = threading.Timer(job.request.limit_s, self._time_out, args=(job, worker))
        timer.daemon = True
        timer.start()
        for event in worker.events():
            with self._lock:
                job.stage = event.get("stage", job.stage)
                job.progress = event.get("progress", job.progress)
                job.result = event.get("result", job.result)
                job.error = event.get("error", job.error)
        ending = worker.finish()
        timer.cancel()
        if job.result is None and job.error is None and not job.cancelled:
            raise self._death(job, worker, ending)

    def _time_out(self, job: Job, worker: WorkerProcess) -> None:
        job.timed_out = True
        worker.kill()

    def _death(self, job: Job, worker: WorkerProcess, ending: Optional[str]) -> WorkerError:
        if job.timed_out:
            what = "it was not done within {:g} s".format(job.request.limit_s)
            return WorkerError(what, "the worker, " + job.stage, "give a greater limit_s or fewer windows")
        _log.error("job %s: the last words of its worker:\n%s", job.id, worker.last_words())
        next_step = "try again; if it happens again, the runtime cannot run this model: see the agent's log"
        if self._memory_mib is not None:
            next_step = "it may use {} MiB: try a smaller model, or a greater limit".format(self._memory_mib)
        return WorkerError("it " + (ending or "ended without a result"), "the worker, " + job.stage, next_step)
