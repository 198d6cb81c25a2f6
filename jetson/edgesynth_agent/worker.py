"""`edgesynth-agent worker`: one order, carried out in a process that may crash without harm to the agent.

The order is one line of JSON on stdin: {"do": "runtimes", "names": […]}, or {"do": "trial", "step": …}, see
`releases.trial`, or {"do": "measure", "model": path, "request": {…}, "device": {…}, "trace": path}, and perhaps
"reference" (path: outputs to compare with), "calibration" (path: scales for int8), "plans" (folder for engines that
were built; by default beside the model), "plans_bytes" (the most that is kept there) and "root" (where sensors are
looked for, by default /); each has "parent", the process that gave it, and "limits" (`limits.JobLimits`), and perhaps
"user", the name of the user to become. The worker ends as soon as stdin does. Its stdout carries events, one JSON
object a line: {"stage": text, "progress": 0…1}, and at last {"result": {…}} or {"error": {what, where, next}}.
"""

import json
import os
import sys
import threading
import traceback
from typing import Any, BinaryIO, Callable, Dict, Optional

from edgesynth_agent.choose import EngineWanted, open_engine
from edgesynth_agent.clock import MonotonicClock
from edgesynth_agent.conditions import SysfsConditions
from edgesynth_agent.countdown import BUILDING
from edgesynth_agent.document import EngineFacts
from edgesynth_agent.engines import Engine
from edgesynth_agent.engines.reference import compare, read_reference, require
from edgesynth_agent.errors import AgentError, EngineError, internal_error
from edgesynth_agent.limits import JobLimits, apply_limits, become
from edgesynth_agent.measure import measure
from edgesynth_agent.plan_folder import MAX_PLAN_BYTES, PlanFolder
from edgesynth_agent.power import find_power_source
from edgesynth_agent.request import JobRequest, parse_job_request
from edgesynth_agent.run_trace import RunTrace, write_run_trace
from edgesynth_agent.sidecar import read_calibration
from edgesynth_agent.simulation import simulation

__all__ = ["run_worker"]

_SEED = 0

Emit = Callable[[Dict[str, Any]], None]


def run_worker() -> int:
    """Carry out the order on stdin; the exit code, 0 also for an error that was told as an event."""
    # What a runtime prints from C must not end up between the events: they get a descriptor of their own.
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    order = json.loads(_first_line(0))
    if order.get("user") is not None:
        become(order["user"])
    apply_limits(JobLimits(**order["limits"]), order["parent"])
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        result = _carry_out(order, lambda event: _emit(events, event))
        _emit(events, {"result": result})
    except AgentError as error:
        _emit(events, {"error": error.document()})
    except MemoryError:
        full = EngineError("it does not fit into the memory it may use", "the worker", "use a smaller model or batch")
        _emit(events, {"error": full.document()})
    except Exception as failure:
        traceback.print_exc()
        _emit(events, {"error": internal_error(failure, "the worker").document()})
    sys.stderr.flush()
    # Runtimes have crashed while being taken down; the result is out, so there is nothing left to take down for.
    os._exit(0)


def _carry_out(order: Dict[str, Any], emit: Emit) -> Dict[str, Any]:
    if order["do"] == "runtimes":
        return {name: _runtime(name) for name in order["names"]}
    if order["do"] == "trial":
        from edgesynth_agent.releases.trial import carry_out

        return carry_out(order, emit)
    return _measure(order, parse_job_request(order["request"]), emit)


def _measure(order: Dict[str, Any], request: JobRequest, emit: Emit) -> Dict[str, Any]:
    emit({"stage": "loading", "progress": 0.0})
    root = order.get("root", "/")
    engine, warnings = open_engine(_wanted(order, request), on_build=lambda: emit({"stage": BUILDING, "progress": 0.0}))
    emit({"stage": "loading", "progress": 0.0})
    engine.prepare(request.batch, _SEED)
    reference = _compared(order, request, engine, emit)
    clock = MonotonicClock()
    power = find_power_source(clock, root)
    power.prepare()
    conditions = SysfsConditions(clock, engine.processor, root)
    run = measure(
        engine,
        clock,
        power,
        request.schedule,
        lambda stage, share: emit({"stage": stage, "progress": share}),
        conditions,
    )
    facts = EngineFacts.of(engine)
    engine.close()
    why_simulated = simulation(root)
    source = "measured" if why_simulated is None else "simulated"
    if why_simulated is not None:
        warnings = ["simulated: " + why_simulated] + warnings
    run = run._replace(warnings=warnings + run.warnings)
    device = dict(order["device"], power=power.facts(), source=source)
    trace = RunTrace(request.target, device, facts, request.batch, _SEED, request.schedule, run, reference)
    write_run_trace(order["trace"], trace)
    return trace.document()


def _wanted(order: Dict[str, Any], request: JobRequest) -> EngineWanted:
    """What to open. Raises RefusedError for a calibration cache that is none."""
    calibration = order.get("calibration")
    if calibration is not None:
        read_calibration(calibration)
    plans = order.get("plans")
    return EngineWanted(
        model=order["model"],
        batch=request.batch,
        backend=request.engine,
        precision=request.precision,
        calibration_cache=calibration,
        plans=None if plans is None else PlanFolder(plans, order.get("plans_bytes", MAX_PLAN_BYTES)),
    )


def _compared(order: Dict[str, Any], request: JobRequest, engine: Engine, emit: Emit) -> Optional[Dict[str, Any]]:
    """What comes of the comparison with the reference, None without one. Raises EngineError when it fails."""
    if order.get("reference") is None:
        return None
    emit({"stage": "comparing outputs", "progress": 0.0})
    comparison = compare(engine, read_reference(order["reference"], request.model), request.batch)
    require(comparison, "model " + request.model)
    return comparison


def _runtime(name: str) -> Dict[str, Optional[str]]:
    """Version of an importable module, else why there is none."""
    try:
        return {"version": __import__(name).__version__, "reason": None}
    except Exception as error:  # a broken installation raises whatever it likes
        return {"version": None, "reason": "{}: {}".format(type(error).__name__, error)}


def _emit(events: BinaryIO, event: Dict[str, Any]) -> None:
    events.write(json.dumps(event, allow_nan=False).encode() + b"\n")
    events.flush()


def _first_line(descriptor: int) -> str:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return line.decode()


def _end_with_stdin() -> None:
    # os.read, because a thread that dies inside sys.stdin's lock can take the interpreter's exit with it.
    while os.read(0, 4096):
        pass
    os._exit(1)
