"""The values that tegrastats prints, each from its text. Pure; a text of another form gives None, nothing raises.

Forms: NVIDIA's field reference (docs.nvidia.com/jetson/archives/l4t-archived/l4t-325, "tegrastats Utility") and lines
of real boards, those in tests/agent/data/tegrastats among them.
"""

import calendar
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

__all__ = ["Rail", "activity", "clock_list", "cores", "memory_mb", "number", "rail", "temperature", "timestamp"]

# Digits are bounded, so that no value is too large for a float; re.ASCII, because \d also means other scripts' digits.
_NUMBER = r"-?\d{1,9}(?:\.\d{1,6})?"
_POWER = r"({})(mW|W)?".format(_NUMBER)
_RAIL = re.compile(r"{0}/{0}(?:/{0})?|({1})(mW|W)".format(_POWER, _NUMBER), re.ASCII)
_TEMPERATURE = re.compile(r"([A-Za-z][\w.-]*)@({0})C(?:/({0})C)?".format(_NUMBER), re.ASCII)
_CLOCK = r"\d{1,6}(?:\.\d{1,6})?"
_CLOCKS = re.compile(r"\[\s*{0}(?:\s*,\s*{0})*\s*\]".format(_CLOCK), re.ASCII)
_ACTIVITY = re.compile(r"(?:(\d{{1,3}}(?:\.\d{{1,6}})?)%)?(?:@?(?:({0})|(\[.*\])))?".format(_CLOCK), re.ASCII)
_CORES = re.compile(r"\[([^\[\]]*)\](?:@(\d{1,6}))?", re.ASCII)
_MEMORY = re.compile(r"(\d{1,12})/\d{1,12}(kB|MB|GB)(?:\(.*)?", re.ASCII)
_TIME = re.compile(
    r"\W{0,3}(?:(\d{2})-(\d{2})-(\d{4})|(\d{4})-(\d{2})-(\d{2}))[ T](\d{2}):(\d{2}):(\d{2})(?:[.,]\d{1,9})?[\]\s:]*",
    re.ASCII,
)
_MB = {"kB": 1 / 1024, "MB": 1, "GB": 1024}
# What a sensor that is switched off reads: 0x8000 of its driver, in whole degrees.
_OFF_C = -256


class Rail(NamedTuple):
    """Milliwatts: of this instant, the mean and the greatest since this tegrastats began; None where not printed."""

    mw: float
    mean_mw: Optional[float]
    max_mw: Optional[float]


def number(text: str) -> float:
    """A whole number as an int, so that it is printed as it was read."""
    return float(text) if "." in text else int(text)


def rail(text: str) -> Optional[Rail]:
    """`366/406` (to R32), `4761mW/4778mW` (R35 on), `8710mW/8710mW/8710mW` (R39); `4761mW` alone, but no bare `25`."""
    match = _RAIL.fullmatch(text)
    if not match:
        return None
    current, unit, mean, mean_unit, greatest, greatest_unit, alone, alone_unit = match.groups()
    if alone is not None:
        return Rail(_mw(alone, alone_unit), None, None)
    return Rail(_mw(current, unit), _mw(mean, mean_unit), None if greatest is None else _mw(greatest, greatest_unit))


def _mw(text: str, unit: Optional[str]) -> float:
    return number(text) * (1000 if unit == "W" else 1)


def temperature(text: str) -> Optional[Tuple[str, Optional[float], Optional[float]]]:
    """`CPU@44.562C`, `cpu@34.3C/34.8C` (R39): name, degrees, the greatest; None for what is off or not printed."""
    match = _TEMPERATURE.fullmatch(text)
    if not match:
        return None
    name, current, greatest = match.groups()
    return name, _celsius(current), None if greatest is None else _celsius(greatest)


def _celsius(text: str) -> Optional[float]:
    value = number(text)
    return None if value == _OFF_C else value


def activity(text: str) -> Optional[Dict[str, Optional[float]]]:
    """`0%@1600`, `63%@[621]`, `@[0,0,0]`, `22%`, `729`, `off`: load in percent and clock in MHz, None for unknown.

    Of several clocks the highest. Loads above 100 % are no loads.
    """
    if text == "off":
        return {"load": None, "mhz": None}
    match = _ACTIVITY.fullmatch(text)
    if not match or not text:
        return None
    load, clock, several = match.groups()
    mhz = None if clock is None else number(clock)
    if several is not None:
        each = clock_list(several)
        if not each:
            return None
        mhz = max(each)
    percent = None if load is None or number(load) > 100 else number(load)
    return {"load": percent, "mhz": mhz}


def clock_list(text: str) -> List[float]:
    """`[1300,1300]`: the numbers; none for another text."""
    return [number(part.strip()) for part in text[1:-1].split(",")] if _CLOCKS.fullmatch(text) else []


def cores(text: str) -> Optional[List[Optional[Dict[str, Optional[float]]]]]:
    """`[1%@345,off,2%@345]`, `[17%,13%]@408`: one entry a core, None for a core that is off."""
    match = _CORES.fullmatch(text)
    if not match:
        return None
    entries, common = match.groups()
    found: List[Optional[Dict[str, Optional[float]]]] = []
    for entry in entries.split(",") if entries.strip() else []:
        core = activity(entry.strip()) or {"load": None, "mhz": None}
        if common is not None and core["mhz"] is None:
            core["mhz"] = number(common)
        found.append(None if entry.strip() == "off" else core)
    return found


def memory_mb(text: str) -> Optional[float]:
    """`1923/3964MB`, `0/252kB(lfb 252kB)`: what is in use, in units of 1024 * 1024 bytes."""
    match = _MEMORY.fullmatch(text)
    return int(match.group(1)) * _MB[match.group(2)] if match else None


def timestamp(line: str) -> Tuple[Optional[float], str, str]:
    """`05-09-2026 18:42:06` (R35 on), `[2018-08-23 16:30:36] : ` (of users' scripts) at the start of a line.

    Seconds since 1970 of the local time as if it were UTC, since the line does not say in which zone it was printed;
    the text of the time; the rest of the line. None and "" where there is no time, or none that can be.
    """
    match = _TIME.match(line)
    if not match:
        return None, "", line
    parts: List[Any] = [int(part) for part in match.groups() if part is not None]
    day, clock = parts[:3], parts[3:]
    year, month, date = day if match.group(4) else (day[2], day[0], day[1])
    hour, minute, second = clock
    possible = year >= 1970 and 1 <= month <= 12 and 1 <= date <= 31 and hour < 24 and minute < 60 and second < 61
    if not possible or date > calendar.monthrange(year, month)[1]:
        return None, "", line
    seconds = calendar.timegm((year, month, date, hour, minute, second))
    return seconds, match.group().strip(" []:"), line[match.end() :]
