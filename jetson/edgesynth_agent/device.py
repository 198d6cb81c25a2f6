"""What device this is."""

import os
import platform
import socket
import threading
import time
from typing import Any, Callable, Dict, Optional, Tuple

from edgesynth_agent import __version__, board
from edgesynth_agent.child import call_worker
from edgesynth_agent.clock import MonotonicClock
from edgesynth_agent.power import PowerSample, find_power_source
from edgesynth_agent.power.ina3221 import find_ina3221
from edgesynth_agent.power.readings import Reading
from edgesynth_agent.simulation import simulation
from edgesynth_agent.targets import compute_capability, targets_of

__all__ = ["Device"]

_PROBE_LIMIT_S = 60.0
_SENSOR_LOOK_S = 0.3
_RUNTIMES = ["numpy", "onnxruntime", "tensorrt"]


class Device:
    """The facts about this machine: what stays is collected once, the rest when it is asked for.

    Runtimes are imported by a worker: a wheel built for another processor dies by SIGILL at import. `store` is the
    folder whose disk counts, `root` where the files of the system are looked for. Safe for several threads.
    """

    def __init__(
        self,
        store: str = "/",
        root: str = "/",
        call: Callable[[Dict[str, Any], float], Optional[Dict[str, Any]]] = call_worker,
    ) -> None:
        self.root = root
        self._store = store
        self._call = call
        self._lock = threading.Lock()
        self._lasting: Optional[Dict[str, Any]] = None
        self._reasons: Dict[str, str] = {}

    @property
    def cpus(self) -> int:
        return os.cpu_count() or 1

    def facts(self) -> Dict[str, Any]:
        """JSON object. What is unknown is None, and `reasons` says why, by the name of the field. `source` is what a
        measurement here is called: "measured", or "simulated" with the reason.

        The first call takes as long as importing the runtimes and looking at the power sensor.
        """
        with self._lock:
            if self._lasting is None:
                self._lasting = self._collect()
            facts = dict(self._lasting)
        now = self.now(power=False)
        reasons = dict(self._reasons, **now.pop("reasons"))
        mode, reason = board.power_mode(self.root)
        if reason is not None:
            reasons["power_mode"] = reason
        del now["power_w"], reasons["power_w"]
        return dict(facts, power_mode=mode, reasons=reasons, **now)

    def now(self, power: bool = True) -> Dict[str, Any]:
        """What changes: temperatures, clocks, memory, disk, and with `power` one reading of the input power."""
        reasons: Dict[str, str] = {}
        now: Dict[str, Any] = {}
        now["temperatures_c"] = _put(reasons, "temperatures_c", board.temperatures_c(self.root))
        now["clocks_mhz"] = _put(reasons, "clocks_mhz", board.clocks_mhz(self.root))
        not_asked = (None, "a job measures it, and must not be disturbed")
        now["power_w"] = _put(reasons, "power_w", self._power_w() if power else not_asked)
        total, available = board.memory_bytes(self.root)
        for name, value in (("memory_bytes", total), ("memory_available_bytes", available)):
            now[name] = _put(reasons, name, (value, None if value is not None else "/proc/meminfo does not say"))
        try:
            disk = os.statvfs(self._store)
            now["disk_bytes"], now["disk_free_bytes"] = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        except OSError as error:
            now["disk_bytes"] = now["disk_free_bytes"] = None
            reasons["disk_bytes"] = reasons["disk_free_bytes"] = str(error)
        now["reasons"] = reasons
        return now

    def is_target(self, name: str) -> bool:
        """Whether figures taken here may carry the name of that target."""
        return name in targets_of(self.root)

    def _collect(self) -> Dict[str, Any]:
        reasons: Dict[str, str] = {}
        l4t = _put(reasons, "l4t", board.l4t_version(self.root))
        tree = os.path.join(board.device_tree(self.root), "model")
        model = board.first_text(tree, self._path("sys/class/dmi/id/product_name"))
        no_model = "neither the device tree nor DMI says it"
        cpu = self._cpu_name()
        why_simulated = simulation(self.root)
        facts = {
            "hostname": socket.gethostname(),
            "model": _put(reasons, "model", (model, None if model else no_model)),
            "machine": platform.machine(),
            "cpu": _put(reasons, "cpu", (cpu, None if cpu else "/proc/cpuinfo does not say")),
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "agent": __version__,
            "source": "measured" if why_simulated is None else "simulated",
            "targets": targets_of(self.root),
            "l4t": l4t,
            "jetpack": _put(reasons, "jetpack", board.jetpack_of(l4t)),
            "cuda": _put(reasons, "cuda", board.cuda_version(self.root)),
            "compute_capability": _put(reasons, "compute_capability", compute_capability(self.root)),
            "runtimes": self._runtimes(),
            "power": self._power(),
        }
        if why_simulated is not None:
            reasons["source"] = why_simulated
        self._reasons = reasons
        return facts

    def _runtimes(self) -> Dict[str, Any]:
        runtimes = self._call({"do": "runtimes", "names": _RUNTIMES}, _PROBE_LIMIT_S)
        if runtimes is None:
            reason = "the process that imports {} died or did not end".format(" and ".join(_RUNTIMES))
            return {name: {"version": None, "reason": reason} for name in _RUNTIMES}
        return runtimes

    def _power(self) -> Dict[str, Any]:
        """The facts of the power sensor, with its rails and how often it was seen to update."""
        source = find_power_source(MonotonicClock(), self.root)
        if source.absence is None:
            source.prepare()
            source.start()
            time.sleep(_SENSOR_LOOK_S)
            source.stop()
        return source.facts()

    def _power_w(self) -> board.Known:
        """One reading of the input power."""
        sensor = find_ina3221(self.root)
        if isinstance(sensor, str):
            return None, sensor
        try:
            sensor.open()
            samples = sensor.samples([Reading(0.0, sensor.read())], None)
        except (OSError, ValueError) as error:
            return None, "the sensor cannot be read: {}".format(error)
        finally:
            sensor.close()
        return PowerSample(*samples[0]).power_w, None

    def _path(self, path: str) -> str:
        return os.path.join(self.root, path)

    def _cpu_name(self) -> Optional[str]:
        for line in (board.first_text(self._path("proc/cpuinfo")) or "").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() in ("model name", "hardware"):
                return value.strip()
        return None


def _put(reasons: Dict[str, str], name: str, known: Tuple[Any, Optional[str]]) -> Any:
    """The value; why there is none goes into `reasons`."""
    value, reason = known
    if reason is not None:
        reasons[name] = reason
    return value
