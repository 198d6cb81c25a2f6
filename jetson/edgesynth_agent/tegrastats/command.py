"""`edgesynth-agent tegrastats [FILE]`: lines of tegrastats in, one JSON object a line out."""

import json
import os
import sys
import time
from typing import BinaryIO, Optional

from edgesynth_agent.tegrastats.parse import parse_line

__all__ = ["run_tegrastats"]

# A line without an end must not fill the memory: what is longer comes as several lines.
_LONGEST_BYTES = 65536


def run_tegrastats(path: Optional[str]) -> int:
    """Read a file, or stdin for None and "-"; the exit code: 0 done, 2 no such file, 3 cut off, 130 interrupted.

    `t` of a line from stdin is this machine's monotonic clock in seconds when the line was read, since lines carry
    whole seconds of local time or none. A line from a file was printed some time ago: its own time, or null.
    """
    if path is None or path == "-":
        return _run(sys.stdin.buffer, live=True)
    try:
        file = open(path, "rb")  # noqa: SIM115 - an error of opening it is not one of reading it
    except OSError as error:
        sys.stderr.write("edgesynth-agent: {}: {}; name a file that can be read\n".format(path, error.strerror))
        return 2
    with file:
        return _run(file, live=False)


def _run(lines: BinaryIO, live: bool) -> int:
    try:
        _convert(lines, live)
    except BrokenPipeError:
        # Whoever read this has seen enough. The interpreter must not fail at flushing what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        sys.stderr.write("edgesynth-agent: tegrastats: {}; what was printed is cut off\n".format(error.strerror))
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def _convert(lines: BinaryIO, live: bool) -> None:
    while True:
        line = lines.readline(_LONGEST_BYTES)
        if not line:
            return
        record = parse_line(line.decode("utf-8", "replace"), time.monotonic() if live else None)
        sys.stdout.write(json.dumps(record, allow_nan=False) + "\n")
        sys.stdout.flush()
