"""The oldest Python that the agent runs on, without any package."""

import os
import shutil
from pathlib import Path

from tests.needs import need

__all__ = ["python36"]


def python36() -> str:
    """An interpreter of Python 3.6; skips the test where there is none."""
    # pyenv before PATH: its shim is on the PATH even where no 3.6 is chosen.
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("3.6*/bin/python"))
    python = os.environ.get("EDGESYNTH_PYTHON36") or (pyenv[-1] if pyenv else shutil.which("python3.6"))
    need(python, "Python 3.6: on PATH, in pyenv, or named by EDGESYNTH_PYTHON36")
    return str(python)
