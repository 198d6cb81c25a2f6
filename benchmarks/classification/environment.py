"""Where a figure was taken: processor, versions, commit, command, date; and the peers' own virtual environment."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import venv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.classification.cells import HERE

__all__ = ["child_environment", "environment", "file_digest", "peers_python"]

ROOT = HERE.parent.parent
PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "torch-pruning", "nvidia-modelopt")
TORCH = "torch==2.13.0"
PEERS_WANT = (
    "torch-pruning==1.6.1",
    "nvidia-modelopt==0.47.0",
    # modelopt imports these three without declaring them, and the newest torchprofile lacks what it uses.
    "requests",
    "huggingface_hub",
    "torchprofile==0.0.4",
    *("jinja2", "numpy", "onnx", "onnxruntime", "pillow", "pydantic", "rich", "safetensors", "scikit-learn", "scipy"),
    "typer",
)


def environment() -> dict[str, Any]:
    """What a reader needs to judge, and to repeat, a figure; `precision` is that of training."""
    from edgesynth.synthesis.compute import device, precision

    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "precision": str(precision(device())).removeprefix("torch."),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "commit": _commit(),
        "command": _command(sys.argv[1:]),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def child_environment() -> dict[str, str]:
    """For a process of one thread that imports this very edgesynth, whatever is installed."""
    paths = (ROOT, ROOT / "exporters", ROOT / "jetson")
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    # glibc maps and clears every larger tensor anew otherwise: a tenth of a training step.
    one["GLIBC_TUNABLES"] = (
        "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=4294967296:glibc.malloc.top_pad=268435456"
    )
    return {**os.environ, **one, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"}


def peers_python(work: Path) -> Path:
    """The Python that has the peers installed; made on first use, with the versions that edgesynth is tested with."""
    folder = work / "peers-venv"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.is_file():
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
        # torch first and alone, so that the peers' looser wishes cannot bring another one in.
        subprocess.run([*pip, TORCH], check=True)
        subprocess.run([*pip, *PEERS_WANT], check=True)
        ready.touch()
    return python


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _command(arguments: Sequence[str]) -> str:
    """Without --work and its folder, which is last where a process was started by `run`: it says nothing to others."""
    told = arguments[: arguments.index("--work")] if "--work" in arguments else arguments
    return " ".join(["python", "-m", "benchmarks.classification", *told])


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the working tree, with "+" where edgesynth or this benchmark differ from it; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        paths = ["edgesynth", "exporters", "benchmarks/classification"]
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", *paths],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() + ("+" if changed.stdout.strip() else "")
