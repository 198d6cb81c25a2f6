"""What the files of a Jetson, or of any Linux machine, say of it. Each function gives a value, or None and the reason.

`root` is where /etc, /proc, /sys and /usr are looked for.
"""

import glob
import json
import os
import re
import subprocess
from typing import Any, Dict, List, Optional, Tuple

__all__ = [
    "clocks_mhz",
    "cuda_version",
    "device_tree",
    "first_text",
    "jetpack_of",
    "l4t_version",
    "memory_bytes",
    "power_mode",
    "temperatures_c",
]

# Release notes of NVIDIA's JetPack archive, developer.nvidia.com/embedded/jetpack-archive. From 35.6.2 on as
# github.com/OE4T/meta-tegra has them (docs/release-notes: the names and the first lines of JetPack-5.1.6-L4T-R35.6.4,
# 6.2.3-L4T-R36.5.2, 7.1-L4T-R38.4.x, 7.2-L4T-R39.2.0, 7.2.1-L4T-R39.2.1); 35.6.1 and 36.4.7 as in
# github.com/dusty-nv/jetson-containers (jetson_containers/l4t_version.py).
_JETPACKS = {
    "28.2.1": "3.3", "32.2.1": "4.2.2", "32.3.1": "4.3", "32.4.3": "4.4", "32.4.4": "4.4.1", "32.5": "4.5",
    "32.5.1": "4.5.1", "32.6.1": "4.6", "32.7.1": "4.6.1", "32.7.2": "4.6.2", "32.7.3": "4.6.3", "32.7.4": "4.6.4",
    "32.7.5": "4.6.5", "32.7.6": "4.6.6", "35.1": "5.0.2", "35.2.1": "5.1", "35.3.1": "5.1.1", "35.4.1": "5.1.2",
    "35.5": "5.1.3", "35.6": "5.1.4", "35.6.1": "5.1.5", "35.6.2": "5.1.5", "35.6.4": "5.1.6", "36.3": "6.0",
    "36.4": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1", "36.4.7": "6.2.1", "36.5": "6.2.2", "36.5.2": "6.2.3",
    "38.2": "7.0", "38.2.1": "7.0", "38.4": "7.1", "39.2": "7.2", "39.2.1": "7.2.1",
}  # fmt: skip

_NVPMODEL = "usr/sbin/nvpmodel"
_NVPMODEL_STATUS = "var/lib/nvpmodel/status"
_NVPMODEL_LIMIT_S = 5.0
# A regulator without a sensor answers with a constant 100 °C (rbonghi/jetson_stats leaves it out), and a sensor that
# is off with -256 °C.
_NO_SENSOR = re.compile("pmic", re.IGNORECASE)
_OFF_C = -200.0

Known = Tuple[Any, Optional[str]]


def device_tree(root: str = "/") -> str:
    """Where the kernel shows the device tree; /proc, where a link leads there, has none in some containers."""
    usual = os.path.join(root, "proc/device-tree")
    return usual if os.path.isdir(usual) else os.path.join(root, "sys/firmware/devicetree/base")


def l4t_version(root: str = "/") -> Known:
    """The release of Linux for Tegra: "32.7.1"."""
    path = os.path.join(root, "etc/nv_tegra_release")
    text = first_text(path)
    if text is None:
        return None, "there is no /etc/nv_tegra_release"
    match = re.search(r"R([0-9]+) \(release\), REVISION: ([0-9.]+)", text)
    if match is None:
        return None, "/etc/nv_tegra_release is of no known form"
    return "{}.{}".format(*match.groups()), None


def jetpack_of(l4t: Optional[str]) -> Known:
    """The JetPack that has this release: "4.6.1"."""
    if l4t is None:
        return None, "the release of L4T is not known"
    short = re.sub(r"(\.0)+$", "", l4t)
    if short not in _JETPACKS:
        return None, "no JetPack with L4T {} is in the agent's table".format(l4t)
    return _JETPACKS[short], None


def cuda_version(root: str = "/") -> Known:
    """The version of the CUDA toolkit in its usual place: "10.2.300"."""
    folder = os.path.join(root, "usr/local/cuda")
    text = first_text(os.path.join(folder, "version.txt")) or ""
    match = re.search(r"CUDA Version ([0-9.]+)", text)
    if match:
        return match.group(1), None
    try:
        version = json.loads(first_text(os.path.join(folder, "version.json")) or "")["cuda"]["version"]
    except (KeyError, TypeError, ValueError):
        return None, "neither version.txt nor version.json in /usr/local/cuda says it"
    return str(version), None


def power_mode(root: str = "/") -> Known:
    """{"id", "name"} as nvpmodel tells them; its status file knows the id alone."""
    tool = os.path.join(root, _NVPMODEL)
    reason = "there is no /" + _NVPMODEL
    if os.path.exists(tool):
        try:
            done = subprocess.run(
                [tool, "-q"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_NVPMODEL_LIMIT_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            reason = "nvpmodel: {}".format(error)
        else:
            match = re.search(r"NV Power Mode: *(\S+)\s+([0-9]+)\s*$", done.stdout.decode("utf-8", "replace"))
            if match:
                return {"id": int(match.group(2)), "name": match.group(1)}, None
            reason = "nvpmodel -q does not tell the mode"
    match = re.search(r"pmode:([0-9]+)", first_text(os.path.join(root, _NVPMODEL_STATUS)) or "")
    if match:
        return {"id": int(match.group(1)), "name": None}, None
    return None, reason


def clocks_mhz(root: str = "/") -> Known:
    """The clock of each processor ("cpu0") and of each device that scales its own ("17000000.gp10b", the GPU)."""
    found: Dict[str, float] = {}
    for path in _sorted(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"):
        _put(found, path.split("/")[-3], path, 1e-3)
    for path in _sorted(root, "sys/class/devfreq/*/cur_freq"):
        _put(found, path.split("/")[-2], path, 1e-6)
    return (found, None) if found else (None, "neither cpufreq nor devfreq in /sys tells a clock")


def temperatures_c(root: str = "/") -> Known:
    """The temperature of each thermal zone, by its type: "GPU-therm"."""
    found: Dict[str, float] = {}
    for path in _sorted(root, "sys/class/thermal/thermal_zone*/temp"):
        name = first_text(os.path.join(os.path.dirname(path), "type")) or path.split("/")[-2]
        if not _NO_SENSOR.search(name):
            _put(found, name if name not in found else path.split("/")[-2], path, 1e-3)
    found = {name: value for name, value in found.items() if value > _OFF_C}
    return (found, None) if found else (None, "no thermal zone in /sys tells a temperature")


def memory_bytes(root: str = "/") -> Tuple[Optional[int], Optional[int]]:
    """All of it, and what programs can have now."""
    text = first_text(os.path.join(root, "proc/meminfo")) or ""
    sizes = dict(re.findall(r"^(\w+): +([0-9]+) kB$", text, flags=re.MULTILINE))
    total, available = [int(sizes[name]) * 1024 if name in sizes else None for name in ("MemTotal", "MemAvailable")]
    return total, available


def first_text(*paths: str) -> Optional[str]:
    """What the first of these files says that says anything."""
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(1024 * 1024).strip("\0 \n")  # the device tree ends its strings with a NUL
        except OSError:
            continue
        if text:
            return text
    return None


def _sorted(root: str, pattern: str) -> List[str]:
    def key(path: str) -> List[Any]:
        return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", path)]

    return sorted(glob.glob(os.path.join(glob.escape(root), pattern)), key=key)


def _put(found: Dict[str, float], name: str, path: str, scale: float) -> None:
    try:
        found[name] = float(first_text(path) or "") * scale
    except ValueError:  # a zone whose sensor is asleep has nothing to say
        pass
