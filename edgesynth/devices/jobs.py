"""What the workstation asks an agent to do, and what it hears of it. The agent checks the bounds."""

from collections.abc import Mapping
from typing import Any, Literal

from edgesynth.records import Record

__all__ = [
    "ENDED",
    "QUICK_BOARD",
    "QUICK_HOST",
    "QUICK_METERED",
    "REPORTED_BOARD",
    "REPORTED_METERED",
    "SCREEN_HOST",
    "SIMULATED_BOARD",
    "EngineName",
    "Event",
    "Failure",
    "Job",
    "JobRequest",
    "Lease",
    "Precision",
    "Schedule",
    "Tier",
    "schedule_for",
]

ENDED = ("done", "failed", "cancelled")

EngineName = Literal["onnxruntime", "tensorrt", "tensorrt_rtx"]
Precision = Literal["fp32", "fp16", "int8"]
Tier = Literal["quick", "reported"]
"""Those of docs/measuring.md whose energy is for the record."""
Status = Literal["queued", "running", "done", "failed", "cancelled"]


class Schedule(Record):
    """Warm up for at least and at most so long, then time so many windows of at least `window_s` each."""

    warmup_min_s: float
    warmup_max_s: float
    windows: int
    window_s: float


# For a machine without a power sensor: there is nothing to sample, so windows need only hold many inferences.
QUICK_HOST = Schedule(warmup_min_s=0.3, warmup_max_s=1.5, windows=5, window_s=0.4)
# The quick tier of docs/measuring.md: long enough for the 50 power samples a window that every sensor needs, RAPL too.
QUICK_METERED = Schedule(warmup_min_s=3.0, warmup_max_s=30.0, windows=5, window_s=10.0)
# For a board, which heats up and scales its clocks: a TX2 needs up to 90 s to settle.
QUICK_BOARD = Schedule(warmup_min_s=15.0, warmup_max_s=90.0, windows=5, window_s=10.0)
# The reported tier: windows of a minute. Five of them, since the interval over windows is twice as wide for three.
REPORTED_METERED = QUICK_METERED.model_copy(update={"window_s": 60.0})
REPORTED_BOARD = QUICK_BOARD.model_copy(update={"window_s": 60.0})
# For a board that is played: what it shows is that measuring works, also on a processor that does much else besides.
SIMULATED_BOARD = Schedule(warmup_min_s=0.2, warmup_max_s=0.8, windows=2, window_s=2.0)
# For the many candidates of a search: enough to tell them apart, never for the record.
SCREEN_HOST = Schedule(warmup_min_s=0.05, warmup_max_s=0.2, windows=3, window_s=0.05)


def schedule_for(device: Mapping[str, Any], *, screening: bool = False, tier: Tier | None = None) -> Schedule:
    """How to measure on a device whose facts are these: in the `tier` that was asked for, else for joules where it has
    a sensor. Screening never takes the time for them, and its records say so."""
    if screening:
        return SCREEN_HOST
    host = device["targets"] == ["host"]
    if tier == "reported":
        return REPORTED_METERED if host else REPORTED_BOARD
    if tier is None and device["power"].get("sensor") is None:
        return QUICK_HOST
    if tier is None and device["source"] == "simulated":
        return SIMULATED_BOARD
    return QUICK_METERED if host else QUICK_BOARD


class JobRequest(Record):
    """Measure the uploaded `model` (its SHA-256) as `target`; the agent ends the job after `limit_s`. Building an
    engine does not count for that, and has `build_limit_s`. `reference` and `calibration` are uploaded files (SHA-256).
    What is None is the agent's choice.
    """

    model: str
    target: str
    batch: int
    limit_s: float
    schedule: Schedule
    engine: EngineName | None = None
    precision: Precision | None = None
    reference: str | None = None
    calibration: str | None = None
    build_limit_s: float | None = None


class Lease(Record):
    """Exclusive use of a device: over `ttl_s` after the last heartbeat."""

    id: str
    holder: str
    ttl_s: float
    expires_in_s: float


class Failure(Record):
    """An error as the agent tells it."""

    what: str
    where: str
    next: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.next}"


class Job(Record):
    """State of a job. `progress` goes from 0 to 1; `result` is there when done, else `error` in the end, and `reason`.

    The device's clock, which may be wrong, gave the moments.
    """

    id: str
    holder: str
    status: Status
    stage: str
    progress: float
    reason: str | None
    submitted_unix_s: float
    ended_unix_s: float | None
    trace_bytes: int | None
    request: JobRequest
    result: dict[str, Any] | None
    error: Failure | None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class Event(Record):
    """Something that happened to a job; numbers ascend."""

    sequence: int
    status: Status
    stage: str
    progress: float
    reason: str | None
