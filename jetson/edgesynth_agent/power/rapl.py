"""The energy counters of a PC's processor (RAPL), read through Linux' powercap (Documentation/power/powercap)."""

import glob
import os
from typing import Any, Dict, List, Optional, Union

from edgesynth_agent.power.base import PowerSample
from edgesynth_agent.power.polled import Sensor
from edgesynth_agent.power.readings import Raw, Reading

__all__ = ["RaplSensor", "find_rapl"]

_POWERCAP = "sys/class/powercap"
# Two processors of a server and their memory take less.
_MOST_W = 5000.0


def find_rapl(root: str = "/") -> Union["RaplSensor", str]:
    """The sensor of this machine, whose sysfs is under `root`; else why there is none.

    Zones `core` and `uncore` are parts of their package. `intel-rapl-mmio` is the same counters by another way, and
    `psys` is wired up on few machines: neither is added.
    """
    powercap = os.path.join(root, _POWERCAP)
    zones = {}
    for folder in sorted(glob.glob(os.path.join(glob.escape(powercap), "intel-rapl:*"))):
        name = _text(os.path.join(folder, "name")) or ""
        if name.startswith("package") or name == "dram":
            zones[folder] = name
    if not any(name.startswith("package") for name in zones.values()):
        return "no RAPL in {}".format(powercap)
    for folder in zones:
        counter = os.path.join(folder, "energy_uj")
        if _text(counter) is None:
            return "{} cannot be read: it is for root alone on most systems; run as root, or chmod a+r".format(counter)
    return RaplSensor(zones)


class RaplSensor(Sensor):
    """Energy of processor packages and their memory; power is its mean between two readings.

    Counters advance about every millisecond, not at even intervals: at 10 readings a second that is 1 % of each.
    """

    name = "rapl"
    period_s = 0.1
    most_w = _MOST_W
    averages = True
    caveat = "power is that of the processor packages and their memory (RAPL), not of the whole machine"

    def __init__(self, zones: Dict[str, str]) -> None:
        self._zones = zones
        self._ranges_uj = [_number(os.path.join(folder, "max_energy_range_uj")) for folder in zones]
        self._descriptors: List[int] = []

    def open(self) -> None:
        self.close()
        for folder in self._zones:
            self._descriptors.append(os.open(os.path.join(folder, "energy_uj"), os.O_RDONLY | os.O_CLOEXEC))

    def read(self) -> Raw:
        return tuple([os.pread(descriptor, 64, 0) for descriptor in self._descriptors])

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def samples(self, readings: List[Reading], update_period_s: Optional[float]) -> List[PowerSample]:
        counted = [(reading.time_s, _counters(reading.raw)) for reading in readings]
        samples = []
        for index in range(1, len(counted)):
            (before_s, before), (after_s, after) = counted[index - 1], counted[index]
            energy_j = 1e-6 * sum(self._step_uj(zone, old, new) for zone, (old, new) in enumerate(zip(before, after)))
            samples.append(PowerSample((before_s + after_s) / 2, energy_j / (after_s - before_s)))
        return samples

    def facts(self) -> Dict[str, Any]:
        rails = [{"name": name, "folder": folder} for folder, name in self._zones.items()]
        return {"total_rule": "+".join(self._zones.values()), "rails": rails}

    def _step_uj(self, zone: int, before: int, after: int) -> int:
        """What was used between two readings of a counter that starts over at the end of its range."""
        if after >= before:
            return after - before
        span_uj = self._ranges_uj[zone]
        if not span_uj or before > span_uj:
            raise ValueError("a counter fell from {} to {} and does not say its range".format(before, after))
        return after - before + span_uj


def _counters(raw: Raw) -> List[int]:
    return [int(text) for text in raw if isinstance(text, bytes)]


def _number(path: str) -> Optional[int]:
    text = _text(path) or ""
    return int(text) if text.isdigit() else None


def _text(path: str) -> Optional[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return None
