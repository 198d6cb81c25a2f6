"""What device this is."""

import os
import platform
import socket
import threading
from typing import Any, Callable, Dict, Optional

from edgesynth_agent import __version__
from edgesynth_agent.child import call_worker
from edgesynth_agent.clock import MonotonicClock
from edgesynth_agent.power import find_power_source

__all__ = ["Device"]

_PROBE_LIMIT_S = 60.0
_RUNTIMES = ["numpy", "onnxruntime"]
_TARGETS = ["host"]


class Device:
    """The facts about this machine, collected once. Safe for several threads.

    Runtimes are imported by a worker: a wheel built for another processor dies by SIGILL at import.
    """

    def __init__(self, call: Callable[[Dict[str, Any], float], Optional[Dict[str, Any]]] = call_worker) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._facts: Optional[Dict[str, Any]] = None

    def facts(self) -> Dict[str, Any]:
        """JSON object. What is unknown is None. The first call takes as long as importing the runtimes."""
        with self._lock:
            if self._facts is None:
                self._facts = {
                    "hostname": socket.gethostname(),
                    "model": _first_text("/proc/device-tree/model", "/sys/class/dmi/id/product_name"),
                    "machine": platform.machine(),
                    "cpu": _cpu_name(),
                    "cpus": os.cpu_count(),
                    "kernel": platform.release(),
                    "python": platform.python_version(),
                    "agent": __version__,
                    "targets": _TARGETS,
                    "runtimes": self._runtimes(),
                    "power": find_power_source(MonotonicClock()).facts(),
                }
            return self._facts

    def is_target(self, name: str) -> bool:
        """Whether figures taken here may carry the name of that target."""
        return name in _TARGETS

    def _runtimes(self) -> Dict[str, Any]:
        runtimes = self._call({"do": "runtimes", "names": _RUNTIMES}, _PROBE_LIMIT_S)
        if runtimes is None:
            reason = "the process that imports {} died or did not end".format(" and ".join(_RUNTIMES))
            return {name: {"version": None, "reason": reason} for name in _RUNTIMES}
        return runtimes


def _first_text(*paths: str) -> Optional[str]:
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read().strip("\0 \n")  # the device tree ends its strings with a NUL
        except OSError:
            continue
        if text:
            return text
    return None


def _cpu_name() -> Optional[str]:
    for line in (_first_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "hardware"):
            return value.strip()
    return None
