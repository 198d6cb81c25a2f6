"""One line of tegrastats to one record. Pure; whatever the line, nothing raises and every number is finite."""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from edgesynth_agent.rails import total_rule
from edgesynth_agent.tegrastats.fields import activity, clock_list, cores, memory_mb, rail, temperature, timestamp

__all__ = ["parse_line"]

# Real lines have up to 1.5 thousand characters.
_LONGEST = 16384
# Words, with what stands in brackets kept whole even where it has spaces. A bracket without its partner is a word.
_WORD = re.compile(r"(?:[^\s\[\]()]+|\[[^\[\]()]{0,4096}\]|\([^\[\]()]{0,512}\))+|[\[\]()]")
_NAME = re.compile(r"(?=[\w.+-]*[A-Za-z])[\w.+-]{1,64}", re.ASCII)
# A unit that stands apart from its number belongs to it.
_LOOSE_UNIT = re.compile(r"(?<=\d) +(m?W\b)", re.ASCII)
_MEMORIES = ("RAM", "SWAP", "IRAM")
_GPU = ("GR3D_FREQ", "GR3D")
_EMC = ("EMC_FREQ", "EMC")
# Readings of a PMIC are placeholders on every release: 100 or 50 degrees, whatever its temperature.
_PMIC_DUMMIES = (50, 100)


class _Reading(NamedTuple):
    """What is known of a line so far."""

    record: Dict[str, Any]
    rail_names: List[str]
    """Of all rails, those of the same name too."""
    words: List[str]
    """What belongs to no field."""
    greatest_c: Dict[str, Optional[float]]
    seen: Dict[Tuple[str, str], int]
    """How often each part of the record was given a name."""


def parse_line(line: str, time_s: Optional[float] = None) -> Dict[str, Any]:
    """The record of a line; `t` is `time_s` where given, else the time that the line carries, else None.

    `rails` are as printed, of which only `mw` is a sample: a second rail of the same name is `NAME#2`. `total_mw` is
    the input power by `total_rule`, None where the rails do not tell it. `cpu` has one entry a core, None when it is
    off. `other` keeps the text of all else, by the name of its field; `warnings` say what is unknown and why.
    """
    record: Dict[str, Any] = {
        "t": time_s,
        "rails": {},
        "total_mw": None,
        "total_rule": None,
        "ram_mb": None,
        "cpu": [],
        "gpu": {"load": None, "mhz": None},
        "emc": {"load": None, "mhz": None},
        "temps_c": {},
        "other": {},
        "warnings": [],
    }
    reading = _Reading(record, [], [], {}, {})
    words = _WORD.findall(_LOOSE_UNIT.sub(r"\1", _take_time(line, reading)))
    position = 0
    while position < len(words):
        position += _take(words, position, reading)
    _add_total(record, reading.rail_names)
    if reading.greatest_c:
        _put(reading, "other", "temps_max_c", reading.greatest_c)
    if reading.words:
        _put(reading, "other", "words", reading.words)
    return record


def _take_time(line: str, reading: _Reading) -> str:
    record = reading.record
    if len(line) > _LONGEST:
        record["warnings"].append("the line has {} characters: cut after {}".format(len(line), _LONGEST))
        line = line[:_LONGEST]
    seconds, text, rest = timestamp(line)
    if text:
        _put(reading, "other", "time", text)
    if record["t"] is None:
        record["t"] = seconds
        if seconds is None:
            record["warnings"].append("the time is unknown: the line carries none")
    return rest


def _take(words: List[str], position: int, reading: _Reading) -> int:
    """Put the field at `position` where it belongs; how many words it has."""
    name = words[position]
    value = words[position + 1] if position + 1 < len(words) else ""
    degrees = temperature(name)
    if degrees:
        _put_temperature(reading, *degrees)
        return 1
    if not _NAME.fullmatch(name):
        reading.words.append(name)
        return 1
    if name.upper() == "CPU" and value.startswith("["):
        _put_cores(reading, name, value)
        return 2
    if name in _MEMORIES and memory_mb(value) is not None:
        return _take_memory(words, position, reading)
    if name == "MTS":
        return _take_translation(words, position, reading)
    power = rail(value)
    if power:
        reading.rail_names.append(name)
        _put(reading, "rails", name, dict(power._asdict()))
        return 2
    if activity(value) is not None:
        _put_activity(reading, name, value)
        return 2
    reading.words.append(name)
    return 1


def _take_memory(words: List[str], position: int, reading: _Reading) -> int:
    """`RAM 1923/3964MB (lfb 2x2MB)`: the size and the largest free blocks stay text."""
    value, after = words[position + 1], position + 2
    if words[position] == "RAM" and reading.record["ram_mb"] is None:
        reading.record["ram_mb"] = memory_mb(value)
    if after < len(words) and words[after].startswith("("):
        value, after = value + " " + words[after], after + 1
    _put(reading, "other", words[position], value)
    return after - position


def _take_translation(words: List[str], position: int, reading: _Reading) -> int:
    """`MTS fg 0% bg 1%`: the foreground and background work of a code-translating processor."""
    after = position + 1
    while after < min(len(words), position + 5) and re.fullmatch(r"fg|bg|\d{1,3}%", words[after], re.ASCII):
        after += 1
    _put(reading, "other", "MTS", " ".join(words[position + 1 : after]))
    return after - position


def _put_cores(reading: _Reading, name: str, value: str) -> None:
    found = cores(value)
    if found is None or reading.record["cpu"]:
        _put(reading, "other", name, value)
    else:
        reading.record["cpu"] = found


def _put_temperature(reading: _Reading, name: str, now_c: Optional[float], greatest_c: Optional[float]) -> None:
    if name.upper() == "PMIC" and now_c in _PMIC_DUMMIES:
        _put(reading, "other", name, "{}C".format(now_c))
        return
    name = _put(reading, "temps_c", name, now_c)
    if now_c is None:
        reading.record["warnings"].append("the temperature of {} is unknown: its sensor is off".format(name))
    if greatest_c is not None:
        reading.greatest_c[name] = greatest_c


def _put_activity(reading: _Reading, name: str, value: str) -> None:
    part = "gpu" if name in _GPU else "emc" if name in _EMC else None
    if part is None or (part, name) in reading.seen:
        _put(reading, "other", name, value)
        return
    reading.seen[part, name] = 1
    reading.record[part] = activity(value)
    if reading.record[part]["load"] is None:
        reading.record["warnings"].append("the load of {} is unknown: it reads {}".format(name, value))
    if value.endswith("]") and len(set(clock_list(value[value.find("[") :]))) > 1:
        _put(reading, "other", name, value)


def _put(reading: _Reading, part: str, name: str, value: Any) -> str:
    """Add to a part of the record; the name it got: `name`, or `name#2`, `name#3` … where that is taken."""
    count = reading.seen[part, name] = reading.seen.get((part, name), 0) + 1
    free = name if count == 1 else "{}#{}".format(name, count)
    reading.record[part][free] = value
    return free


def _add_total(record: Dict[str, Any], names: List[str]) -> None:
    rails, warnings = record["rails"], record["warnings"]
    warnings.extend("rail {} is negative".format(name) for name in rails if rails[name]["mw"] < 0)
    rule = total_rule(names)
    if rule.reason:
        warnings.append("the total power is unknown: " + rule.reason)
        return
    total_mw = sum(rails[name]["mw"] for name in rule.rails)
    if total_mw <= 0:
        warnings.append("the total power is unknown: {} reads {} mW".format(rule.text, total_mw))
        return
    # Sums of decimal fractions would print as 4761.300000000001.
    record["total_mw"], record["total_rule"] = round(total_mw, 6), rule.text
