"""The one job that is under way, and what its worker says of it."""

import logging
import threading
import uuid
from typing import Any, Callable, Dict, NamedTuple, Optional

from edgesynth_agent.child import WorkerProcess
from edgesynth_agent.countdown import BUILDING, Countdown
from edgesynth_agent.errors import WorkerError
from edgesynth_agent.leases import Lease
from edgesynth_agent.request import JobRequest

__all__ = ["Ending", "RunningJob"]

_MOST_EVENTS = 10000

_log = logging.getLogger("edgesynth_agent")


class Ending(NamedTuple):
    """How a job ended; `reason` is None for one that is done."""

    status: str
    reason: Optional[str] = None
    result: Optional[Dict[str, Any]] = None
    error: Optional[Dict[str, str]] = None


class RunningJob:
    """What is asked of it from outside is under the runner's lock; the rest belongs to the thread that runs it."""

    def __init__(self, request: JobRequest, lease: Lease) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.request = request
        self.lease = lease
        self.stage = "queued"
        self.cancelled: Optional[Ending] = None
        self.worker: Optional[WorkerProcess] = None
        self.ended = threading.Event()
        self._late: Optional[WorkerError] = None

    def hear_out(
        self, worker: WorkerProcess, memory_mib: int, on_progress: Callable[["RunningJob", str, float], None]
    ) -> Ending:
        """Wait for the end of a worker, which must come within the limits of the request; how the job ended."""
        request = self.request
        countdown = Countdown(request.limit_s, request.longest_build_s, lambda: self._time_out(countdown, worker))
        countdown.begin()
        said: Dict[str, Any] = {}
        for index, event in enumerate(worker.events()):
            if event.get("result") is not None or event.get("error") is not None:
                said = event
            elif index < _MOST_EVENTS:
                stage = str(event.get("stage", self.stage))
                countdown.turn(building=stage == BUILDING)
                on_progress(self, stage, float(event.get("progress", 0.0)))
        how = worker.finish()
        countdown.stop()
        if said.get("result") is not None:
            return Ending("done", None, said["result"])
        if said.get("error") is not None:
            return Ending("failed", "error", None, said["error"])
        return self._death(worker, how, memory_mib)

    def _time_out(self, countdown: Countdown, worker: WorkerProcess) -> None:
        where = "the worker, " + self.stage
        if countdown.building:
            what = "the engine was not built within {:g} s".format(self.request.longest_build_s)
            self._late = WorkerError(what, where, "give a greater build_limit_s")
        else:
            what = "it was not done within {:g} s".format(self.request.limit_s)
            self._late = WorkerError(what, where, "give a greater limit_s or fewer windows")
        worker.kill()

    def _death(self, worker: WorkerProcess, how: Optional[str], memory_mib: int) -> Ending:
        if self._late is not None:
            return Ending("failed", "time_limit", None, self._late.document())
        _log.error("job %s: the last words of its worker:\n%s", self.id, worker.last_words())
        next_step = "it may use {} MiB: try a smaller model, or see the agent's log".format(memory_mib)
        error = WorkerError("it " + (how or "ended without a result"), "the worker, " + self.stage, next_step)
        return Ending("failed", "died", None, error.document())
