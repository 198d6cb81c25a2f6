"""The trace of a job: everything that its record was computed from, so that it can be computed again.

gzip of JSON lines. The first is {"schema": "edgesynth.run-trace/1", "target", "device", "engine": {…}, "batch",
"seed", "schedule": {…}, "reference", "warmup_s", "settled_s", "idle": […], "before": {…}, "after": {…}, "warnings":
[…], "windows": number, "conditions": number}. For each window follow {"start_s", "end_s", "inferences": n} and lines
of up to 1000 latencies in s, n in all; its inferences are back to back. Then, one a line, the conditions: [time in s,
GPU clock in MHz or null, temperature in °C or null]. The rest is a power trace (`power.trace_file`). All times are of
one monotonic clock, the device's.
"""

import gzip
import json
import os
import zlib
from array import array
from typing import Any, Dict, List, NamedTuple, Optional

from edgesynth_agent.conditions import Condition
from edgesynth_agent.document import EngineFacts, measurement_document
from edgesynth_agent.errors import RefusedError, StorageError
from edgesynth_agent.files import sync_folder
from edgesynth_agent.power.trace_file import read_lines, write_lines
from edgesynth_agent.protocol import IdleWindow, Run, Schedule, TimedWindow

__all__ = ["SCHEMA", "RunTrace", "read_run_trace", "recompute", "write_run_trace"]

SCHEMA = "edgesynth.run-trace/1"

_CHUNK = 1000
_LONGEST_LINE = 1024 * 1024
# A small file may well expand to more than any memory. An hour, the longest job, at 10 kHz; ten times the windows that
# a job may have; and an hour of conditions at 50 Hz.
_MOST_INFERENCES = 36000000
_MOST_WINDOWS = 1000
_MOST_CONDITIONS = 180000


class RunTrace(NamedTuple):
    """The arguments of `measurement_document`."""

    target: str
    device: Dict[str, Any]
    engine: EngineFacts
    batch: int
    seed: int
    schedule: Schedule
    run: Run
    reference: Optional[Dict[str, Any]] = None

    def document(self) -> Dict[str, Any]:
        """The record, computed anew."""
        return measurement_document(*self)


def recompute(path: str) -> Dict[str, Any]:
    """The record that a trace gives: the one that came with it, figure for figure. Raises RefusedError."""
    trace = read_run_trace(path)
    try:
        document = trace.document()
        json.dumps(document, allow_nan=False)  # infinite numbers in it would be no JSON
        return document
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        what = "no figures can be made of it: {}: {}".format(type(error).__name__, error)
        raise RefusedError(what, path, "give a file that the agent wrote") from error


def write_run_trace(path: str, trace: RunTrace) -> None:
    """Write a trace, whole or not at all. Raises StorageError."""
    partial = path + ".partial"
    try:
        # No name and no time in the file: the same trace gives the same bytes.
        with open(partial, "wb") as raw:
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file:
                _write(file, trace)
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(partial, path)
        sync_folder(os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        raise StorageError(error.strerror or str(error), path, "free some space") from error


def read_run_trace(path: str) -> RunTrace:
    """Raises RefusedError for anything that is no trace of a run."""
    try:
        with gzip.open(path, "rb") as file:
            return _read(file)
    except (EOFError, KeyError, OSError, OverflowError, RecursionError, TypeError, ValueError, zlib.error) as error:
        what = "it is no trace of a run: {}: {}".format(type(error).__name__, error)
        raise RefusedError(what, path, "give a file that the agent wrote") from error


def _write(file: Any, trace: RunTrace) -> None:
    run = trace.run
    header = {
        "schema": SCHEMA,
        "target": trace.target,
        "device": trace.device,
        "engine": dict(trace.engine._asdict()),
        "batch": trace.batch,
        "seed": trace.seed,
        "schedule": dict(trace.schedule._asdict()),
        "reference": trace.reference,
        "warmup_s": run.warmup_s,
        "settled_s": run.settled_s,
        "idle": [list(idle) for idle in run.idle],
        "before": run.before,
        "after": run.after,
        "warnings": run.warnings,
        "windows": len(run.windows),
        "conditions": len(run.conditions),
    }
    _line(file, header)
    for window in run.windows:
        count = len(window.latencies_s)
        _line(file, {"start_s": window.start_s, "end_s": window.end_s, "inferences": count})
        for begin in range(0, count, _CHUNK):
            _line(file, list(window.latencies_s[begin : begin + _CHUNK]))
    for condition in run.conditions:
        _line(file, condition)
    write_lines(file, run.power, {})


def _line(file: Any, document: Any) -> None:
    file.write(json.dumps(document, allow_nan=False).encode() + b"\n")


def _read(file: Any) -> RunTrace:
    header = _next(file)
    if header.get("schema") != SCHEMA:
        raise ValueError("the first line is not of " + SCHEMA)
    left = _MOST_INFERENCES
    if not 0 <= header["windows"] <= _MOST_WINDOWS or not 0 <= header["conditions"] <= _MOST_CONDITIONS:
        raise ValueError("it has {} windows and {} conditions".format(header["windows"], header["conditions"]))
    windows: List[TimedWindow] = []
    for _ in range(header["windows"]):
        window = _next(file)
        latencies_s = array("d")
        left -= window["inferences"]
        if left < 0:
            raise ValueError("more than {} inferences".format(_MOST_INFERENCES))
        while len(latencies_s) < window["inferences"]:
            latencies_s.extend(_list(file))
        if len(latencies_s) != window["inferences"]:
            raise ValueError("a window has more latencies than inferences")
        windows.append(TimedWindow(float(window["start_s"]), float(window["end_s"]), latencies_s))
    conditions = [Condition(*_list(file)) for _ in range(header["conditions"])]
    power, _ = read_lines(file)
    run = Run(
        header["warmup_s"],
        header["settled_s"],
        windows,
        [IdleWindow(*idle) for idle in header["idle"]],
        power,
        conditions,
        header["before"],
        header["after"],
        header["warnings"],
    )
    return RunTrace(
        header["target"],
        header["device"],
        EngineFacts(**header["engine"]),
        header["batch"],
        header["seed"],
        Schedule(**header["schedule"]),
        run,
        header["reference"],
    )


def _list(file: Any) -> List[Any]:
    line = json.loads(file.readline(_LONGEST_LINE).decode())
    if not isinstance(line, list) or not line:
        raise ValueError("a line is no list")
    return line


def _next(file: Any) -> Dict[str, Any]:
    document = json.loads(file.readline(_LONGEST_LINE).decode())
    if not isinstance(document, dict):
        raise ValueError("a line is no object")
    return document
