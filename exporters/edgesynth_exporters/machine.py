"""Whether this machine is of the kind that an engine is asked for."""

import importlib.metadata
import re
from pathlib import Path

from edgesynth_exporters.errors import IncompatibleError
from edgesynth_exporters.target import Target

__all__ = ["refuse_other_machine"]

DEVICE_TREE = Path("/proc/device-tree/model")
"""Where a Jetson says what it is: "NVIDIA Jetson Orin Nano Developer Kit"."""


def refuse_other_machine(target: Target) -> None:
    """TensorRT builds for the machine that it runs on: raise IncompatibleError unless that is what `target` stands for,
    the host, or a board of that module with that version of TensorRT."""
    if target.kind == "host":
        return
    model, version = _model(), _version()
    module = re.split(r" \d| \(", target.module or "")[0]
    wrong = []
    if not module or module.lower() not in (model or "").lower():
        wrong.append(f"this machine is {model or 'no Jetson'}")
    if target.tensorrt is None or not _same(version, target.tensorrt):
        wrong.append(f"its TensorRT is {version or 'not installed'}")
    if wrong:
        there = f" with TensorRT {target.tensorrt}" if target.tensorrt else ""
        raise IncompatibleError(
            f"an engine for {target.name} is built on one, {target.module or target.name}{there}, and "
            f"{' and '.join(wrong)}: export with --format onnx and build there: edgesynth-agent build MODEL.onnx"
        )


def _model() -> str | None:
    try:
        return DEVICE_TREE.read_text(errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def _version() -> str | None:
    try:
        return importlib.metadata.version("tensorrt")
    except importlib.metadata.PackageNotFoundError:
        return None


def _same(found: str | None, wanted: str) -> bool:
    """Whether a version such as "10.3.0.30" is "10.3.0"."""
    parts = wanted.split(".")
    return found is not None and found.split(".")[: len(parts)] == parts
