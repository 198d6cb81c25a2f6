"""Following a job to its end: by its stream of events, and by asking only while there is none."""

import time
from collections.abc import Callable, Iterator

from edgesynth.devices.deadline import Deadline
from edgesynth.devices.http import AgentHttp
from edgesynth.devices.jobs import ENDED, Event, Job
from edgesynth.errors import ConnectionLostError, DeviceError

__all__ = ["watch"]

SILENCE_S = 30.0
"""An agent says nothing in the middle of a window; after so long, find out whether it is still there."""
PATIENCE_S = 30.0
"""How long a line may be broken: as long as a lease outlives its last heartbeat."""
POLL_S = 0.2
"""Each question takes the device's attention away from what it measures."""


def watch(http: AgentHttp, ask: Callable[[], Job], job_id: str, deadline: Deadline) -> Iterator[Event | Job]:
    """What happens to a job, until it has ended or the deadline has passed; at last the job. `ask` asks for it.

    A stream that breaks is taken up behind the last event that came. Raises DeviceError when the agent is gone.
    """
    after, streams = 0, True
    patience: Deadline | None = None
    while True:
        try:
            for event in _events(http, job_id, after, deadline) if streams else ():
                after = event.sequence
                yield event
                if event.status in ENDED or deadline.expired:
                    break
        except ConnectionLostError:
            pass
        except DeviceError:  # it has no such stream; what else is wrong comes out by asking
            streams = False
        try:
            job = ask()
        except ConnectionLostError:
            patience = patience or Deadline(PATIENCE_S)
            if patience.expired or deadline.expired:
                raise
        else:
            yield job
            if job.ended or deadline.expired:
                return
            patience = None
        time.sleep(min(POLL_S, deadline.remaining_s))


def _events(http: AgentHttp, job_id: str, after: int, deadline: Deadline) -> Iterator[Event]:
    silence_s = min(SILENCE_S, max(deadline.remaining_s, POLL_S))
    for document in http.lines(f"/v1/jobs/{job_id}/events?after={after}", silence_s):
        try:
            yield Event.model_validate(document)
        except ValueError as error:
            raise http.error("an event of its job is none; update the agent or the workstation") from error
