"""Which targets a board is, by what its device tree says of the module: figures taken here may carry their names."""

import os
import re
from typing import List, Optional, Tuple

from edgesynth_agent.board import device_tree, first_text

__all__ = ["compute_capability", "targets_of"]

_HOST = "host"

# Target: compute capability, part numbers of its modules. One with another processor, clock or memory bus (TX2 NX,
# TX2i, TX2 4GB, Nano 2GB, AGX Xavier 8GB, Orin NX 8GB, Orin Nano 4GB …) is none. Part numbers: MODULE_NAME_TABLE in
# github.com/rbonghi/jetson_stats (jtop/core/jetson_variables.py); the Orin Nano of the developer kit, P3767-0005, AGX
# Orin 64GB, P3701-0005, and Thor, P3834-0008: the device trees of Linux (arch/arm64/boot/dts/nvidia).
_MODULES = {
    "tx1": ("5.3", ("p2180-1000", "p2597-2180", "p2371-2180")),  # the last two are its developer kit
    "tx2": ("6.2", ("p3310-1000", "p2771-0000")),  # the second is its developer kit, in the device tree of Linux
    "nano": ("5.3", ("p3448-0000", "p3448-0002")),
    "xavier-nx": ("7.2", ("p3668-0000", "p3668-0001", "p3668-0003")),
    "agx-xavier": ("7.2", ("p2888-0001", "p2888-0003", "p2888-0004", "p2888-0005")),
    "orin-nano": ("8.7", ("p3767-0003", "p3767-0005")),
    "orin-nx": ("8.7", ("p3767-0000",)),
    "agx-orin": ("8.7", ("p3701-0000", "p3701-0005")),
    "thor": ("11.0", ("p3834-0008",)),
}
# L4T 28 names no part number of a TX2 but in the path of its device tree's source, which some images leave out.
_CODE_NAMES = {"quill": "tx2"}
_PART_NUMBER = re.compile(r"p[0-9]{4}-[0-9]{4}")
# CUDA_TABLE in github.com/rbonghi/jetson_stats (jtop/core/jetson_variables.py); Thor: developer.nvidia.com/cuda-gpus.
_CHIPS = {"tegra210": "5.3", "tegra186": "6.2", "tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}


def compute_capability(root: str = "/") -> Tuple[Optional[str], Optional[str]]:
    """That of a Jetson's GPU, "6.2", by the chip that the device tree names; else None, and the reason."""
    compatible = _text(root, "compatible")
    found = [capability for chip, capability in _CHIPS.items() if "nvidia," + chip in compatible.split("\0")]
    return (found[0], None) if found else (None, "the device tree names no Tegra that the agent knows")


def targets_of(root: str = "/") -> List[str]:
    """ "host", which every device is for itself, and the board of the module and the chip that the device tree names.

    The two must agree: a module on another chip, or with the numbers of several boards, is none.
    """
    capability = compute_capability(root)[0]
    parts = _PART_NUMBER.findall(_text(root, "compatible")) or _PART_NUMBER.findall(_text(root, "nvidia,dtsfilename"))
    found = {name for name, (_, modules) in _MODULES.items() if set(parts) & set(modules)}
    if not parts and _text(root, "model") in _CODE_NAMES:
        found = {_CODE_NAMES[_text(root, "model")]}
    if len(found) == 1 and all(_MODULES[name][0] == capability for name in found):
        return [_HOST] + sorted(found)
    return [_HOST]


def _text(root: str, name: str) -> str:
    return first_text(os.path.join(device_tree(root), name)) or ""
