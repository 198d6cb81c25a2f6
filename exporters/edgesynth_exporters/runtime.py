"""ONNX Runtime, loaded without its telemetry."""

import os
from typing import Any

__all__ = ["onnx_runtime"]


def onnx_runtime() -> Any:
    """The `onnxruntime` module. It reports usage to its maker unless told otherwise before its first import."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
