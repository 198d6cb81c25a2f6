"""The power that `tegrastats` prints, run as a child process."""

import os
import subprocess
import threading
from typing import Any, Dict, List, Optional, Union

from edgesynth_agent.clock import Clock
from edgesynth_agent.power.base import PowerSample, PowerSource, PowerTrace
from edgesynth_agent.power.readings import Reading, make_trace
from edgesynth_agent.tegrastats import parse_line

__all__ = ["TegrastatsPower", "find_tegrastats"]

# No multiple or divisor of the round numbers that loads repeat at: its lines come evenly, so lines in step with a
# load would show the same part of it each time.
_INTERVAL_MS = 53
_MOST_W = 400.0
_LONGEST_BYTES = 65536
_END_LIMIT_S = 2.0


def find_tegrastats(clock: Clock, root: str = "/", home: Optional[str] = None) -> Union["TegrastatsPower", str]:
    """The source on this board; else why there is none. Up to L4T R28 the program lies in the user's home."""
    folders = [os.path.join(root, "usr/bin"), os.path.expanduser("~") if home is None else home]
    for folder in folders:
        path = os.path.join(folder, "tegrastats")
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return TegrastatsPower(clock, path)
    return "no tegrastats in " + " or ".join(folders)


class TegrastatsPower(PowerSource):
    """The first number of the rails that add up to the input, stamped on this machine's clock when a line arrives.

    The second number is a mean since the program began, and the time in a line has whole seconds: neither is used.
    The child is ended by its process id. `tegrastats --stop` would end everybody's.
    """

    def __init__(self, clock: Clock, path: str, interval_ms: int = _INTERVAL_MS) -> None:
        self._clock = clock
        self._path = path
        self._interval_ms = interval_ms
        self._process: Optional["subprocess.Popen[bytes]"] = None
        self._reader: Optional[threading.Thread] = None
        self._readings: List[Reading] = []
        self._failed: List[str] = []
        self._rule: Optional[str] = None
        self._last: Dict[str, Any] = {}

    def start(self) -> None:
        self._readings, self._failed = [], []
        try:
            self._process = subprocess.Popen(
                [self._path, "--interval", str(self._interval_ms)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            self._failed.append("{} does not start: {}".format(self._path, error.strerror))
            return
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def stop(self) -> PowerTrace:
        early = self._end()
        trace = make_trace(self._readings, self._failed, None, _samples, _MOST_W, averages=False)
        if early is not None:
            trace = trace._replace(invalid="tegrastats ended by itself, with exit code {}".format(early))
        self._last = {
            "readings": len(self._readings),
            "failed": len(self._failed),
            "samples": len(trace.samples),
            "update_period_s": trace.update_period_s,
            "averages": False,
        }
        self._readings, self._failed = [], []
        return trace

    def facts(self) -> Dict[str, Any]:
        facts = {
            "sensor": "tegrastats",
            "reason": None,
            "path": self._path,
            "asked_period_s": self._interval_ms / 1e3,
            "total_rule": self._rule,
        }
        facts.update(self._last)
        return facts

    def _end(self) -> Optional[int]:
        """End the child and all that reads from it; its exit code when it had ended before."""
        process, self._process = self._process, None
        if process is None or self._reader is None or process.stdout is None:
            return None
        early = process.poll()
        process.terminate()
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(_END_LIMIT_S)
        process.stdout.close()
        return early

    def _read(self, lines: Any) -> None:
        while True:
            line = lines.readline(_LONGEST_BYTES)
            if not line:
                return
            time_s = self._clock.now_s()
            record = parse_line(line.decode("utf-8", "replace"), time_s)
            if record["total_mw"] is None:
                self._failed.append("; ".join(record["warnings"]))
                continue
            self._rule = record["total_rule"]
            rails = [rail["mw"] for rail in record["rails"].values()]
            self._readings.append(Reading(time_s, tuple([record["total_mw"]] + rails)))


def _samples(readings: List[Reading], update_period_s: Optional[float]) -> List[PowerSample]:
    return [PowerSample(time_s, float(str(raw[0])) / 1e3) for time_s, raw in readings]
