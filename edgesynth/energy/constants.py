"""The constants of the TX2 model, read from `tx2.toml`, which names the source of each."""

import tomllib
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["CONSTANTS_FILE", "Calibration", "Constants", "calibration"]

CONSTANTS_FILE = Path(__file__).with_name("tx2.toml")


@dataclass(frozen=True)
class Constants:
    """One number each, its unit in the name; what each means stands in `tx2.toml`."""

    gpu_clock_mhz: float
    gpu_cores: float
    memory_clock_mhz: float
    memory_bytes_per_clock: float
    idle_power_w: float
    memory_pj_per_byte: float
    fp16_energy_ratio: float
    overhead_ms: float
    launch_us: float
    efficiency_fp32: float
    efficiency_fp16: float
    half_channels: float
    active_power_w: float
    fp32_pj_per_mac: float


@dataclass(frozen=True)
class Calibration:
    """The constants, and how far they can be trusted.

    `latency_refits` and `energy_refits` hold the constants refitted without each network (without each row, for
    energy). The `*_rms` are of ln(estimate / measurement) where the estimate had not seen the measurement, for
    networks bound by launches, for those bound by the GPU, and for energy at a known latency. `harness_ms` is what
    the Python harness behind most rows seems to add to the overhead. The ranges are those of the fitted rows.
    """

    constants: Constants
    latency_refits: tuple[Constants, ...]
    energy_refits: tuple[Constants, ...]
    launch_bound_rms: float
    gpu_bound_rms: float
    energy_rms: float
    harness_ms: float
    macs_range: tuple[int, int]
    kernels_range: tuple[int, int]
    energy_macs_range: tuple[int, int]
    energy_kernels_range: tuple[int, int]
    version: str


@cache
def calibration(path: Path = CONSTANTS_FILE) -> Calibration:
    """What `path` says. The file ships with the package, so a damaged one is a bug and no user error."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    values: dict[str, Any] = document["published"] | document["fitted"]
    constants = Constants(**{field.name: float(values[field.name]["value"]) for field in fields(Constants)})
    errors: dict[str, Any] = document["errors"]
    ranges: dict[str, Any] = {name: (low, high) for name, (low, high) in document["ranges"].items()}
    return Calibration(
        constants=constants,
        latency_refits=_refits(constants, document["refits"]["latency"]),
        energy_refits=_refits(constants, document["refits"]["energy"]),
        version=document["version"],
        **errors,
        **ranges,
    )


def _refits(constants: Constants, table: dict[str, list[float]]) -> tuple[Constants, ...]:
    columns = [[(name, value) for value in values] for name, values in table.items()]
    return tuple(replace(constants, **dict(row)) for row in zip(*columns, strict=True))
