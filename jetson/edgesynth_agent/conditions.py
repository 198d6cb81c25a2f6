"""Under which conditions a measurement is taken: the GPU's clock, a temperature, the power mode.

Nothing here changes any of them.
"""

import glob
import os
import re
import threading
from abc import ABC, abstractmethod
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from edgesynth_agent import board
from edgesynth_agent.clock import Clock

__all__ = ["Condition", "Conditions", "FakeConditions", "NoConditions", "SysfsConditions"]

# Often enough that a fall which matters in a window of 10 s is seen, and seldom enough to cost nothing.
_PERIOD_S = 0.2
# As devfreq calls the GPU of a Jetson: 57000000.gpu (Nano), 17000000.gp10b (TX2), .gv11b (Xavier), .ga10b or .gpu
# (Orin), gpu-gpc-0 (Thor); github.com/rbonghi/jetson_stats looks for these too.
_GPU = re.compile(r"(^|\.)(gpu|gp10b|gv11b|ga10b|gb10b)$|^gpu-gpc-0$")


class Condition(NamedTuple):
    """What was so at an instant; None for what this machine does not tell."""

    time_s: float
    gpu_mhz: Optional[float]
    temperature_c: Optional[float]


class Conditions(ABC):
    """Samples in the background, as a power source does. Nothing raises: what cannot be read is None.

    `start` and `stop` in turn, as often as wanted; `read` and `snapshot` at any time. Used from one thread.
    """

    @abstractmethod
    def start(self) -> None:
        """Begin to sample."""

    @abstractmethod
    def stop(self) -> List[Condition]:
        """End sampling; what was seen since `start`, ascending in time."""

    @abstractmethod
    def read(self) -> Condition:
        """What is so now."""

    @abstractmethod
    def snapshot(self) -> Dict[str, Any]:
        """A JSON object {"power_mode", "clocks_mhz", "temperatures_c", "reasons"}; None has its reason there by the
        same name. Takes up to some seconds: not for a window."""


class NoConditions(Conditions):
    """A machine that tells nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def start(self) -> None:
        pass

    def stop(self) -> List[Condition]:
        return []

    def read(self) -> Condition:
        return Condition(self._clock.now_s(), None, None)

    def snapshot(self) -> Dict[str, Any]:
        names = ("power_mode", "clocks_mhz", "temperatures_c")
        return dict(dict.fromkeys(names), reasons=dict.fromkeys(names, "nobody looked"))


class FakeConditions(Conditions):
    """For tests: as if `gpu_mhz(time_s)` and `temperature_c(time_s)` had been read every `period_s`."""

    def __init__(
        self,
        clock: Clock,
        gpu_mhz: Callable[[float], Optional[float]],
        temperature_c: Callable[[float], Optional[float]] = lambda time_s: 50.0,
        period_s: float = _PERIOD_S,
    ) -> None:
        self.power_mode: Any = {"id": 0, "name": "MAXN"}
        self._clock = clock
        self._gpu_mhz = gpu_mhz
        self._temperature_c = temperature_c
        self._period_s = period_s
        self._start_s = clock.now_s()

    def start(self) -> None:
        self._start_s = self._clock.now_s()

    def stop(self) -> List[Condition]:
        count = int((self._clock.now_s() - self._start_s) / self._period_s)
        return [self._at(self._start_s + index * self._period_s) for index in range(count + 1)]

    def read(self) -> Condition:
        return self._at(self._clock.now_s())

    def snapshot(self) -> Dict[str, Any]:
        now = self.read()
        return {
            "power_mode": self.power_mode,
            "clocks_mhz": {"gpu": now.gpu_mhz},
            "temperatures_c": {"GPU-therm": now.temperature_c},
            "reasons": {},
        }

    def _at(self, time_s: float) -> Condition:
        return Condition(time_s, self._gpu_mhz(time_s), self._temperature_c(time_s))


class SysfsConditions(Conditions):
    """A Jetson, or any Linux machine; `root` is where /sys and the rest are looked for.

    The temperature is that of the `processor` that computes ("cpu" or "gpu"), where a thermal zone is named after it,
    else of the zone that was the hottest at first.
    """

    def __init__(self, clock: Clock, processor: str, root: str = "/") -> None:
        self._clock = clock
        self._root = root
        self._gpu = _gpu_clock(root)
        self._zone = _thermal_zone(root, processor)
        self._samples: List[Condition] = []
        self._stopping = threading.Event()
        self._thread: Optional[threading.Thread] = None

    def start(self) -> None:
        self._samples = []
        self._stopping.clear()
        if self._gpu is None and self._zone is None:
            return
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> List[Condition]:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return self._samples

    def read(self) -> Condition:
        mhz, degrees = _number(self._gpu, 1e-6), _number(self._zone, 1e-3)
        return Condition(self._clock.now_s(), mhz, degrees)

    def snapshot(self) -> Dict[str, Any]:
        found = {
            "power_mode": board.power_mode(self._root),
            "clocks_mhz": board.clocks_mhz(self._root),
            "temperatures_c": board.temperatures_c(self._root),
        }
        document: Dict[str, Any] = {name: value for name, (value, _) in found.items()}
        document["reasons"] = {name: reason for name, (_, reason) in found.items() if reason is not None}
        return document

    def _sample(self) -> None:
        while True:
            self._samples.append(self.read())
            if self._stopping.wait(_PERIOD_S):
                return


def _gpu_clock(root: str) -> Optional[str]:
    found = sorted(glob.glob(os.path.join(glob.escape(root), "sys/class/devfreq/*/cur_freq")))
    paths = [path for path in found if _GPU.search(os.path.basename(os.path.dirname(path)))]
    return paths[0] if paths else None


def _thermal_zone(root: str, processor: str) -> Optional[str]:
    hottest: Optional[str] = None
    most_c = 0.0
    for path in sorted(glob.glob(os.path.join(glob.escape(root), "sys/class/thermal/thermal_zone*/temp"))):
        name = (board.first_text(os.path.join(os.path.dirname(path), "type")) or "").lower()
        degrees = _number(path, 1e-3)
        if degrees is None or "pmic" in name:  # a constant 100 °C
            continue
        if processor in name:
            return path
        if degrees > most_c:
            hottest, most_c = path, degrees
    return hottest


def _number(path: Optional[str], scale: float) -> Optional[float]:
    if path is None:
        return None
    try:
        return float(board.first_text(path) or "") * scale
    except ValueError:  # a device that is asleep has nothing to say
        return None
