"""Traces in files: compressed text, to be kept with a result, fetched, and computed again.

gzip of JSON lines. The first is {"schema": "edgesynth.power-trace/1", "update_period_s": s or null, "averages": bool,
"invalid": text or null, "facts": {…}}; each further line is one sample, [time in s, power in W], ascending in time.
"""

import gzip
import json
import math
import os
import zlib
from typing import Any, Dict, List, Tuple

from edgesynth_agent.errors import RefusedError, StorageError
from edgesynth_agent.power.base import PowerSample, PowerTrace

__all__ = ["SCHEMA", "read_lines", "read_trace", "write_lines", "write_trace"]

SCHEMA = "edgesynth.power-trace/1"

# Ten hours at 100 Hz; a small file may well expand to more than any memory.
_MOST_SAMPLES = 3600000
_LONGEST_LINE = 65536
_HEADER = {"update_period_s", "averages", "invalid", "facts"}


def write_trace(path: str, trace: PowerTrace, facts: Dict[str, Any]) -> None:
    """Write a trace, whole or not at all. Raises StorageError."""
    partial = path + ".partial"
    try:
        # No name and no time in the file: the same trace gives the same bytes.
        with open(partial, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
            write_lines(file, trace, facts)
        os.replace(partial, path)
    except OSError as error:
        raise StorageError(str(error.strerror), path, "free some space, or write elsewhere") from error


def write_lines(file: Any, trace: PowerTrace, facts: Dict[str, Any]) -> None:
    """The lines of a trace, not compressed. Raises OSError."""
    header = {
        "schema": SCHEMA,
        "update_period_s": trace.update_period_s,
        "averages": trace.averages,
        "invalid": trace.invalid,
        "facts": facts,
    }
    file.write(json.dumps(header, allow_nan=False, sort_keys=True).encode() + b"\n")
    for sample in trace.samples:
        file.write("[{!r},{!r}]\n".format(*sample).encode())


def read_trace(path: str) -> Tuple[PowerTrace, Dict[str, Any]]:
    """The trace of a file and the facts that came with it. Raises RefusedError for anything that is no trace."""
    try:
        with gzip.open(path, "rb") as file:
            return read_lines(file)
    except (EOFError, OSError, OverflowError, RecursionError, ValueError, zlib.error) as error:
        raise RefusedError(
            "it is no power trace: {}".format(error), path, "give a file that the agent wrote"
        ) from error


def read_lines(file: Any) -> Tuple[PowerTrace, Dict[str, Any]]:
    """The trace in the lines from here to the end of a binary file, and its facts.

    Raises ValueError, or RecursionError for JSON that is nested too deep, and what the file raises.
    """
    header = _header(json.loads(file.readline(_LONGEST_LINE).decode()))
    samples: List[PowerSample] = []
    while True:
        line = file.readline(_LONGEST_LINE)
        if not line:
            return PowerTrace(samples, header["invalid"], header["update_period_s"], header["averages"]), header[
                "facts"
            ]
        try:
            samples.append(_sample(json.loads(line.decode()), samples))
        except (OverflowError, ValueError) as error:
            raise ValueError("line {}: {}".format(len(samples) + 2, error)) from error


def _header(document: Any) -> Dict[str, Any]:
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or not set(document) >= _HEADER:
        raise ValueError("the first line is not of {}".format(SCHEMA))
    period_s, invalid = document["update_period_s"], document["invalid"]
    good = [
        period_s is None or (_is_number(period_s) and period_s >= 0),
        invalid is None or isinstance(invalid, str),
        isinstance(document["averages"], bool),
        isinstance(document["facts"], dict),
    ]
    if not all(good):
        raise ValueError("a field of the first line is of another type")
    return document


def _sample(pair: Any, before: List[PowerSample]) -> PowerSample:
    if not isinstance(pair, list) or len(pair) != 2 or not all(_is_number(value) for value in pair):
        raise ValueError("a sample is not a time and a power")
    if before and pair[0] <= before[-1].time_s:
        raise ValueError("time does not ascend")
    if len(before) == _MOST_SAMPLES:
        raise ValueError("more than {} samples".format(_MOST_SAMPLES))
    return PowerSample(float(pair[0]), float(pair[1]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
