"""Which versions made a file."""

import importlib.metadata
import platform

__all__ = ["tool_versions"]

TOOLS = ("edgesynth", "torch", "onnx", "onnxruntime", "onnxslim", "polygraphy")


def tool_versions() -> dict[str, str]:
    """Versions by name, of Python and of the packages that take part in an export."""
    return {"python": platform.python_version()} | {name: _version(name) for name in TOOLS}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a source tree
