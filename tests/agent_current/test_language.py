"""The agent and its tests are in the language of Python 3.6."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_language_is_python_36():
    vermin = Path(sys.executable).with_name("vermin")
    paths = (ROOT / "jetson", ROOT / "tests" / "agent", ROOT / "tests" / "needs.py", ROOT / "tests" / "process.py")
    done = subprocess.run(
        [vermin, "-t=3.6-", "--no-tips", *paths], check=False, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout
