"""Steps of a deploy that run a network: each in a worker, which may crash, hang or fill the memory."""

import threading
from typing import Any, Callable, Dict, List, Optional

from edgesynth_agent.child import WorkerProcess
from edgesynth_agent.errors import EngineError, WorkerError
from edgesynth_agent.limits import JobLimits, default_memory_mib

__all__ = ["run_in_worker"]


def run_in_worker(
    order: Dict[str, Any], limit_s: float, started: Callable[[WorkerProcess], None], package: Optional[str]
) -> Dict[str, Any]:
    """The result of an order, carried out by the agent at `package`, None for this one.

    Raises AgentError with what the worker told, or how it died.
    """
    limits = JobLimits(default_memory_mib(), None, None)
    worker = WorkerProcess(order, limits) if package is None else WorkerProcess(order, limits, package)
    started(worker)
    timer = threading.Timer(limit_s, worker.kill)
    timer.daemon = True
    timer.start()
    last: Dict[str, Any] = {}
    for event in worker.events():
        last = event
    how = worker.finish()
    expired = not timer.is_alive()
    timer.cancel()
    if "result" in last:
        result: Dict[str, Any] = last["result"]
        return result
    if "error" in last:
        raise EngineError(last["error"]["what"], last["error"]["where"], last["error"]["next"])
    step = str(order.get("step"))
    if expired:
        raise WorkerError("it was not done within {:g} s".format(limit_s), step, "allow it more time")
    words: List[str] = worker.last_words().splitlines()[-1:]
    what = "its process {}{}".format(how or "ended without a result", ": " + words[0] if words else "")
    raise WorkerError(what, step, "free memory, or deploy a smaller network")
