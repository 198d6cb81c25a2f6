"""Jobs: one at a time, for the holder of the lease, each in its own worker process."""

import logging
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional

from edgesynth_agent.child import WorkerProcess
from edgesynth_agent.device import Device
from edgesynth_agent.errors import AgentError, BusyError, RefusedError, StorageError, internal_error
from edgesynth_agent.job_store import TERMINAL, JobStore
from edgesynth_agent.leases import Lease, Leases
from edgesynth_agent.limits import JobLimits, default_memory_mib
from edgesynth_agent.machine import Machine
from edgesynth_agent.plan_folder import PlanFolder
from edgesynth_agent.request import JobRequest
from edgesynth_agent.running import Ending, RunningJob
from edgesynth_agent.store import Uploads
from edgesynth_agent.traces import TraceFolder

__all__ = ["JobRunner"]

_STOP_LIMIT_S = 10.0
_LOOK_S = 1.0  # how often to look whether somebody who waits for events is still there
_RETRY_S = 1.0
_MACHINE_POLL_S = 0.1
_CPU_MARGIN_S = 60
_TRACE_MIB = 512

_log = logging.getLogger("edgesynth_agent")

StartWorker = Callable[[Dict[str, Any], JobLimits], WorkerProcess]


class JobRunner:
    """Runs one job at a time, since two would disturb each other's figures. Safe for several threads.

    What `jobs` holds is the truth: a job has ended when that is recorded, and not before. `memory_mib` bounds a
    process of a job; None means three quarters of the machine. The runner cancels a job when its lease ends.
    """

    def __init__(
        self,
        uploads: Uploads,
        device: Device,
        plans: PlanFolder,
        jobs: JobStore,
        traces: TraceFolder,
        leases: Leases,
        machine: Machine,
        memory_mib: Optional[int] = None,
        start_worker: StartWorker = WorkerProcess,
    ) -> None:
        self._uploads = uploads
        self._device = device
        self._plans = plans
        self._jobs = jobs
        self._traces = traces
        self._leases = leases
        self._machine = machine
        self._memory_mib = default_memory_mib() if memory_mib is None else memory_mib
        self._start_worker = start_worker
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._happened = 0
        self._running: Optional[RunningJob] = None
        self._stopping = threading.Event()
        leases.on_end = self._lease_ended

    @property
    def running(self) -> Optional[str]:
        """The id of the job that runs."""
        running = self._running
        return None if running is None else running.id

    def submit(self, request: JobRequest, lease_id: Optional[str], key: Optional[str] = None) -> Dict[str, Any]:
        """Start a job; its document. With the `key` of an earlier job, that job, whatever became of it.

        Raises LeaseError, BusyError (a job runs), NotFoundError (no such model or file), RefusedError (other target, or
        the key is of another request), StorageError.
        """
        with self._lock:
            earlier = None if key is None else self._jobs.with_key(key)
            if earlier is not None:
                if earlier["request"] != request.document():
                    raise RefusedError("it is that of another request", "header Idempotency-Key", "give a new one")
                return earlier
            lease = self._leases.require(lease_id)
            ending = self._running if self._is_ending(lease) else None
        if ending is not None:
            ending.ended.wait(_STOP_LIMIT_S)
        if not self._device.is_target(request.target):
            raise RefusedError(
                "this device is no '{}'".format(request.target), "field 'target'", "ask GET /v1/device for its targets"
            )
        with self._lock:
            lease = self._leases.require(lease_id)
            if self._running is not None:
                raise BusyError(
                    "job {} runs".format(self._running.id), "this device", "wait for it, or cancel it by DELETE"
                )
            if self._stopping.is_set():
                raise BusyError("the agent is stopping", "this device", "ask again once it is back")
            self._uploads.pin(request)
            job = RunningJob(request, lease)
            try:
                self._jobs.add(job.id, key, lease.holder, request.document())
            except BaseException:
                self._uploads.unpin(request)
                raise
            self._running = job
            threading.Thread(target=self._run, args=(job,), daemon=True).start()
            return self._jobs.document(job.id)

    def cancel(self, job_id: str) -> Dict[str, Any]:
        """End a job and wait until its worker is gone; a job that has ended stays as it is. Raises NotFoundError."""
        self._jobs.document(job_id)
        self._end_running(job_id, "request", "it was cancelled on request")
        return self._jobs.document(job_id)

    def require_quiet(self, lease_id: Optional[str]) -> None:
        """Raises BusyError while a job runs that is not of this lease: other work would disturb its figure."""
        with self._lock:
            job = self._running
            if job is not None and job.cancelled is None and job.lease.id != lease_id:
                what = "job {} of {} runs, and an upload would disturb its figure".format(job.id, job.lease.holder)
                raise BusyError(what, "this device", "wait for its end, or upload with the lease of its holder")

    def stop(self) -> None:
        """Cancel what runs, and take no more. For the end of the agent."""
        self._stopping.set()
        running = self._running
        if running is not None:
            self._end_running(running.id, "agent_stopped", "the agent was stopped")

    def events(self, job_id: str, after: int, anybody_there: Callable[[], bool]) -> Iterator[Dict[str, Any]]:
        """What happened to a job since event `after`, and what happens, until it has ended. Raises NotFoundError.

        Ends early when `anybody_there()` says no; it is asked now and then.
        """
        while True:
            seen = self._happened
            events = self._jobs.events(job_id, after)
            for event in events:
                yield event
                after = event["sequence"]
            if events and events[-1]["status"] in TERMINAL:
                return
            if not events and self._jobs.document(job_id)["status"] in TERMINAL:
                return
            with self._changed:
                if self._happened == seen:
                    self._changed.wait(_LOOK_S)
            if not anybody_there():
                return

    def _is_ending(self, lease: Lease) -> bool:
        """Whether what runs is of a lease that has ended, or is recorded as ended already: soon there is room."""
        job = self._running
        return job is not None and (job.lease.id != lease.id or self._jobs.document(job.id)["status"] in TERMINAL)

    def _lease_ended(self, lease: Lease, how: str) -> None:
        with self._lock:
            running = self._running
        if running is not None and running.lease.id == lease.id:
            self._end_running(running.id, "lease_ended", "the lease of {} {}".format(lease.holder, how))

    def _end_running(self, job_id: str, reason: str, what: str) -> None:
        with self._lock:
            job = self._running
            if job is None or job.id != job_id:
                return
            if job.cancelled is None:
                error = {"what": what, "where": "job " + job.id, "next": "submit it again"}
                job.cancelled = Ending("cancelled", reason, None, error)
            if job.worker is not None:
                job.worker.kill()
        job.ended.wait(_STOP_LIMIT_S)

    def _run(self, job: RunningJob) -> None:
        try:
            with self._machine_taken(job):
                ending = self._carry_out(job)
        except AgentError as error:
            ending = Ending("failed", "error", None, error.document())
        except Exception as error:
            _log.exception("job %s", job.id)
            ending = Ending("failed", "error", None, internal_error(error, "job " + job.id).document())
        with self._lock:
            job.worker = None
            ending = job.cancelled or ending
        self._record(job, ending)
        self._uploads.unpin(job.request)
        with self._lock:
            self._running = None
        job.ended.set()
        self._notify()
        _log.info("job %s: %s%s", job.id, ending.status, " ({what})".format(**ending.error) if ending.error else "")

    def _record(self, job: RunningJob, ending: Ending) -> None:
        """Write down how a job ended. While the disk does not take it, the job has not ended."""
        while True:
            try:
                trace_bytes = None
                if ending.status == "done":
                    trace_bytes = self._traces.bytes_of(job.id)
                else:
                    self._traces.remove(job.id)
                self._jobs.end(job.id, ending.status, ending.reason, ending.result, ending.error, trace_bytes)
                self._tidy()
                return
            except ValueError:
                _log.exception("job %s", job.id)
                return
            except (OSError, StorageError) as error:
                _log.error("job %s cannot be recorded: %s", job.id, error)
                if self._stopping.wait(_RETRY_S):
                    return  # the next agent finds it interrupted

    def _tidy(self) -> None:
        """Forget what is old. A failure is for the next time."""
        try:
            for job_id in self._jobs.forget_old():
                self._traces.remove(job_id)
            self._traces.trim(self._jobs.drop_trace)
        except (OSError, StorageError) as error:
            _log.warning("old jobs and traces are still there: %s", error)

    def _carry_out(self, job: RunningJob) -> Ending:
        request, uploads = job.request, self._uploads
        order = {
            "do": "measure",
            "model": uploads.models.path(request.model),
            "request": request.document(),
            "device": self._device.facts(),
            "root": self._device.root,
            "trace": self._traces.path(job.id),
            "plans": self._plans.root,
            "plans_bytes": self._plans.max_bytes,
        }
        order.update({name: uploads.files.path(digest) for name, digest in request.files().items()})
        longest_s = request.limit_s + request.longest_build_s
        limits = JobLimits(self._memory_mib, int(longest_s * self._device.cpus) + _CPU_MARGIN_S, _TRACE_MIB)
        with self._lock:
            if job.cancelled is not None:
                return job.cancelled
            worker = job.worker = self._start_worker(order, limits)
        self._progress(job, "starting", 0.0)
        return job.hear_out(worker, self._memory_mib, self._progress)

    @contextmanager
    def _machine_taken(self, job: RunningJob) -> Iterator[None]:
        """No other agent of this machine measures meanwhile; one that does is waited for until the job is cancelled."""
        taken = self._machine.take()
        if not taken:
            self._progress(job, "waiting for another agent of this machine", 0.0)
        while not taken and job.cancelled is None:
            time.sleep(_MACHINE_POLL_S)
            taken = self._machine.take()
        try:
            yield
        finally:
            if taken:
                self._machine.release()

    def _progress(self, job: RunningJob, stage: str, share: float) -> None:
        job.stage = stage
        try:
            self._jobs.progress(job.id, stage, share)
        except StorageError as error:  # what counts is how it ends
            _log.warning("progress of job %s: %s", job.id, error)
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._happened += 1
            self._changed.notify_all()
