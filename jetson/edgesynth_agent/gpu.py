"""What a TensorRT plan is tied to: the model of Jetson, or of the first GPU of a workstation."""

import ctypes
import os
from typing import Any, Callable, Optional

from edgesynth_agent.board import device_tree as default_tree

__all__ = ["device_model"]

_DRIVER = "libcuda.so.1"
_NAME_BYTES = 256


def device_model(device_tree: Optional[str] = None, load: Callable[[str], Any] = ctypes.CDLL) -> Optional[str]:
    """A Jetson's name for itself, else the CUDA driver's name of device 0, the one that TensorRT uses; None without.

    Asking the driver starts CUDA in this process, so it is for a process that uses the GPU anyway.
    """
    try:
        with open(device_tree or os.path.join(default_tree(), "model"), encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0 \n") or None  # the device tree ends its strings with a NUL
    except OSError:
        pass
    try:
        driver = load(_DRIVER)
    except OSError:
        return None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if driver.cuDeviceGetName(name, _NAME_BYTES, device):
        return None
    return name.value.decode("utf-8", "replace").strip() or None
