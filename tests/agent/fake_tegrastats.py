"""A tegrastats that prints what a test wants."""

import sys

__all__ = ["write_tegrastats"]

SCRIPT = """#!{python} -IS
import sys, time
with open(__file__ + ".calls", "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
count = 0
while count != {lines}:
    print({line!r}.format(3056 + count % 7), flush=True)
    time.sleep({interval_s})
    count += 1
sys.exit({code})
"""


def write_tegrastats(path, line, interval_s=0.02, lines=None, code=0):
    """An executable that prints `line`, its {} a power in mW that changes, `lines` times or until it is ended.

    Beside it, `….calls` has the arguments of each call.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        SCRIPT.format(
            python=sys.executable, line=line, interval_s=interval_s, lines=-1 if lines is None else lines, code=code
        )
    )
    path.chmod(0o755)
    return path
