"""The INA3221 on a Jetson, three rails a chip, read through sysfs.

JetPack 4: NVIDIA's IIO driver `ina3221x` (drivers/staging/iio/meter/ina3221.c of its 4.9 kernel). JetPack 5 and later:
Linux' own hwmon driver `ina3221` (Documentation/hwmon/ina3221.rst), and `ina238` for the input of an AGX Thor.
"""

import glob
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from edgesynth_agent.power.base import PowerSample
from edgesynth_agent.power.polled import Sensor
from edgesynth_agent.power.readings import Raw, Reading
from edgesynth_agent.rails import TotalRule, total_rule

__all__ = ["Ina3221Sensor", "SysfsRail", "find_ina3221", "find_rails"]

_DRIVERS = "sys/bus/i2c/drivers"
# Modules take up to 130 W (AGX Thor), and its whole board not twice that.
_MOST_W = 400.0
# The IIO driver answers EAGAIN when a conversion took longer than it cares to wait.
_TRIES = 4
_RETRY_S = 0.001
_SETTINGS = ("running_mode", "samples", "update_interval")
_WATTS = {"uW": 1e-6, "mW": 1e-3, "mV mA": 1e-6}


class SysfsRail(NamedTuple):
    """One rail: its name, the files to read, and what they say: "mV mA", to be multiplied, "mW", or "uW"."""

    name: str
    files: Tuple[str, ...]
    unit: str

    @property
    def folder(self) -> str:
        return os.path.dirname(self.files[0])


def find_ina3221(root: str = "/") -> Union["Ina3221Sensor", str]:
    """The sensor of this board, whose sysfs is under `root`; else why there is none."""
    rails = find_rails(root)
    if not rails:
        return "no INA3221 in {}".format(os.path.join(root, _DRIVERS))
    rule = total_rule([rail.name for rail in rails])
    if rule.reason:
        return "the INA3221 does not tell the input power: " + rule.reason
    return Ina3221Sensor(rails, rule)


def find_rails(root: str = "/") -> List[SysfsRail]:
    """All rails that have a name and a reading, whatever their bus, address and number: those differ by board."""
    drivers = os.path.join(root, _DRIVERS)
    found: List[SysfsRail] = []
    for driver in ("ina3221x", "ina3221", "ina238"):
        for chip in sorted(glob.glob(os.path.join(glob.escape(drivers), driver, "*-*"))):
            # Some releases call the same folder iio_device as well.
            iio = _folders(chip, "iio:device*") or _folders(chip, "iio_device")
            folders = iio + _folders(chip, "hwmon", "hwmon*")
            found.extend(rail for folder in folders for rail in _rails_in(folder))
    return found


def _folders(chip: str, *pattern: str) -> List[str]:
    return sorted(glob.glob(os.path.join(glob.escape(chip), *pattern)))


def _rails_in(folder: str) -> List[SysfsRail]:
    forms: List[Tuple[str, Tuple[str, ...], str]] = []
    for channel in ("0", "1", "2"):
        # One file that gives both numbers of one conversion is best.
        forms.append(("rail_name_" + channel, ("ui_input_" + channel,), "mV mA"))
        forms.append(("rail_name_" + channel, ("in_power{}_input".format(channel),), "mW"))
    for channel in ("1", "2", "3"):
        both = ("in{}_input".format(channel), "curr{}_input".format(channel))
        forms.append(("in{}_label".format(channel), both, "mV mA"))
    forms.append(("label", ("power1_input",), "uW"))
    rails: Dict[str, SysfsRail] = {}
    for label, files, unit in forms:
        name = _text(os.path.join(folder, label))
        paths = tuple(os.path.join(folder, file) for file in files)
        if name and label not in rails and all(os.path.exists(path) for path in paths):
            rails[label] = SysfsRail(name, paths, unit)
    return list(rails.values())


class Ina3221Sensor(Sensor):
    """The rails that add up to the input power.

    They are read one after the other, and hwmon's voltage and current too: each may be of a conversion of its own, so
    a single sample of changing power is a little off, either way alike.
    """

    name = "ina3221"
    most_w = _MOST_W

    def __init__(self, rails: List[SysfsRail], rule: TotalRule) -> None:
        self._all = rails
        self._rule = rule
        self._rails = [rail for rail in rails if rail.name in rule.rails]
        self._descriptors: List[int] = []
        self._mean_s: Optional[float] = None
        self._look_at_settings()

    def open(self) -> None:
        self.close()
        self._look_at_settings()
        for rail in self._rails:
            for file in rail.files:
                self._descriptors.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC))

    def read(self) -> Raw:
        return tuple([_read(descriptor) for descriptor in self._descriptors])

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def samples(self, readings: List[Reading], update_period_s: Optional[float]) -> List[PowerSample]:
        # A mean belongs to the middle of the time that it was taken over.
        lag_s = (self._mean_s or update_period_s or 0.0) / 2 if self.averages else 0.0
        return [PowerSample(reading.time_s - lag_s, self._watts(reading.raw)) for reading in readings]

    def facts(self) -> Dict[str, Any]:
        return {
            "total_rule": self._rule.text,
            "rails": [{"name": rail.name, "folder": rail.folder} for rail in self._all],
            "settings": {folder: _settings(folder) for folder in self._chips()},
        }

    def _chips(self) -> List[str]:
        return sorted({rail.folder for rail in self._rails})

    def _look_at_settings(self) -> None:
        """Whether values are means: of several samples (hwmon), or because the chip runs on by itself (IIO)."""
        settings = [_settings(folder) for folder in self._chips()]
        self.averages = any(each.get("samples", 1) > 1 or each.get("running_mode", 0) > 0 for each in settings)
        intervals_ms = [each["update_interval"] for each in settings if each.get("update_interval", 0) > 0]
        self._mean_s = max(intervals_ms) / 1e3 if intervals_ms else None

    def _watts(self, raw: Raw) -> float:
        texts = list(raw)
        watts = 0.0
        for rail in self._rails:
            own, texts = texts[: len(rail.files)], texts[len(rail.files) :]
            numbers = [int(word) for text in own if isinstance(text, bytes) for word in text.split()]
            if len(numbers) != len(rail.unit.split()):
                raise ValueError("{} of {}".format(own, rail.name))
            if len(numbers) == 2 and numbers[0] < 0:  # times a negative current it would be power that looks well
                raise ValueError("{} mV on {}".format(numbers[0], rail.name))
            product = numbers[0] * numbers[-1] if len(numbers) == 2 else numbers[0]
            watts += product * _WATTS[rail.unit]
        return watts


def _read(descriptor: int) -> bytes:
    for _ in range(_TRIES - 1):
        try:
            return os.pread(descriptor, 64, 0)
        except BlockingIOError:
            time.sleep(_RETRY_S)
    return os.pread(descriptor, 64, 0)


def _settings(folder: str) -> Dict[str, int]:
    """What the driver says of how it samples. Limits and alerts are no concern of a reader."""
    found = {}
    for name in _SETTINGS:
        text = _text(os.path.join(folder, name)) or ""
        if text.isdigit():
            found[name] = int(text)
    return found


def _text(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(256).strip()
    except OSError:
        return None
