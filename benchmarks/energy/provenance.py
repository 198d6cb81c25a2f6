"""Where a figure was taken: processor, versions, commit, command, date."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["HERE", "provenance"]

HERE = Path(__file__).parent
PACKAGES = ("numpy", "scipy", "torch", "onnx")


def provenance() -> dict[str, Any]:
    """What a reader needs to judge, and to repeat, a figure."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": _commit(),
        "command": " ".join(["python", "-m", "benchmarks.energy", *sys.argv[1:]]),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """Of the working tree, with "+" where edgesynth or this benchmark differ from it; None outside a repository."""
    try:
        commit = _git("describe", "--always", "--abbrev=12", "--exclude=*")
        paths = ["edgesynth", "exporters", str(HERE), ":!*.json", ":!*.md"]
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *paths)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=HERE.parent.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()
