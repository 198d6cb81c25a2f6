"""What works on this machine: packages, runtimes, power sensors, data."""

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgesynth.data import sources

__all__ = ["Finding", "examine"]

NEEDED = ("torch", "onnx", "onnxruntime", "torch_pruning", "safetensors", "sklearn")
OPTIONAL = {
    "tensorrt": ("tensorrt", "builds and runs engines on a machine with an NVIDIA GPU"),
    "tensorrt_rtx": ("tensorrt-rtx", "builds engines ahead of time, also without a GPU"),
}
POWER_SENSORS = {
    # Drivers of the INA3221 under JetPack 4 and from JetPack 5 on; the powercap framework of PCs.
    "INA3221 (JetPack 4)": "bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_0",
    "INA3221 (JetPack 5 and later)": "bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in1_label",
    "RAPL": "class/powercap/intel-rapl:*/energy_uj",
}


class Finding(NamedTuple):
    """One thing that was looked for. `detail` says what was found or, where nothing was, how to get it."""

    what: str
    works: bool
    needed: bool
    detail: str


def examine(sys_root: Path = Path("/sys")) -> list[Finding]:
    """Look for everything, by trying it rather than by believing a list."""
    return [*_python(), *_packages(), *_agent(), *_gpu(), *_sensors(sys_root), *_data()]


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= (3, 11), True, version)


def _packages() -> Iterator[Finding]:
    for module in NEEDED:
        works, detail = _try_import(module)
        yield Finding(module, works, True, detail if works else f"{detail}: pip install edgesynth")
    for module, (extra, purpose) in OPTIONAL.items():
        works, detail = _try_import(module)
        yield Finding(module, works, False, detail if works else f"{purpose}: pip install 'edgesynth[{extra}]'")


def _try_import(module: str) -> tuple[bool, str]:
    if importlib.util.find_spec(module) is None:
        return False, "not installed"
    try:
        found = importlib.import_module(module)
    except Exception as error:
        return False, f"installed, but fails to import: {str(error).splitlines()[0] if str(error) else error!r}"
    return True, str(getattr(found, "__version__", "version unknown"))


def _agent() -> Iterator[Finding]:
    spec = importlib.util.find_spec("edgesynth_agent")
    works = spec is not None and spec.origin is not None
    yield Finding("agent", works, True, "on this machine, as a child process" if works else "pip install edgesynth")


def _gpu() -> Iterator[Finding]:
    import torch

    works = torch.cuda.is_available()
    yield Finding("GPU for training", works, False, torch.cuda.get_device_name() if works else "none; the CPU trains")


def _sensors(sys_root: Path) -> Iterator[Finding]:
    found = [name for name, pattern in POWER_SENSORS.items() if any(sys_root.glob(pattern))]
    if found:
        detail = f"{', '.join(found)}: the agent reads it, where it is allowed to (docs/measuring.md)"
    else:
        detail = "none: energy is unknown on this machine; edgesynth estimate tells a model's figure for a TX2"
    yield Finding("power sensor", bool(found), False, detail)


def _data() -> Iterator[Finding]:
    for source in sources():
        available = source.availability()
        yield Finding(f"data: {source.name}", available.ready, source.name == "digits", available.where)
