"""The constants of a target's model, read from its TOML file, which names the source of each.

Those of the models that ship with edgesynth lie beside this module; `edgesynth calibrate` writes files of the same
form.
"""

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GREATEST", "SHIPPED", "Calibration", "Clocks", "Constants", "Power", "calibration", "calibration_of"]

Floats = NDArray[np.float64]

SHIPPED = {"tx2-sim": "tx2.toml", "nano-sim": "nano.toml"}
"""The files of the models that ship with edgesynth, by target."""

GREATEST = 1e9
"""No constant of a real board comes near it, in its unit."""
ROUNDING = 0.01
"""A covariance that was rounded for its file may have eigenvalues below zero, by this share of the greatest."""


@dataclass(frozen=True)
class Clocks:
    """Clocks in MHz; arrays (…, 1) where loads are stacked."""

    gpu_mhz: float | Floats
    memory_mhz: float | Floats
    cpu_mhz: float | Floats


@dataclass(frozen=True)
class Constants:
    """What latency depends on: one number each, its unit in the name. `model` says what each does.

    `overhead_ms`, `launch_us`, `pooling_us` and `sum_us` are at `cpu_clock_mhz`.
    """

    gpu_clock_mhz: float
    gpu_cores: float
    memory_clock_mhz: float
    memory_bytes_per_clock: float
    cpu_clock_mhz: float
    overhead_ms: float
    launch_us: float
    pooling_us: float
    sum_us: float
    efficiency_fp32: float
    efficiency_fp16: float
    half_channels: float

    @property
    def clocks(self) -> Clocks:
        """The clocks of the mode that the constants were fitted in."""
        return Clocks(self.gpu_clock_mhz, self.memory_clock_mhz, self.cpu_clock_mhz)


@dataclass(frozen=True)
class Power:
    """What energy depends on besides latency."""

    idle_power_w: float
    active_power_w: float
    fp32_pj_per_mac: float
    fp16_energy_ratio: float
    memory_pj_per_byte: float


@dataclass(frozen=True)
class Calibration:
    """The constants, and how far they can be trusted.

    `power` is None where no joules are known, and `no_power` says why. `overhead_ms` of the constants lies between
    `overhead_range_ms`; `overhead_source` says where it comes from. `covariance` is that of the logarithms of the
    fitted constants, in the order of `fitted`; likewise for energy. The `*_rms` are of ln(estimate / measurement) where
    the estimate had not seen the measurement: for networks bound by launches, for those bound by the GPU, and for
    energy at a known latency. The ranges are those of the fitted rows.
    """

    name: str
    version: str
    board: dict[str, Any]
    constants: Constants
    power: Power | None
    no_power: str | None
    overhead_range_ms: tuple[float, float]
    overhead_source: str
    fitted: tuple[str, ...]
    covariance: Floats
    energy_fitted: tuple[str, ...]
    energy_covariance: Floats
    launch_bound_rms: float
    gpu_bound_rms: float
    energy_rms: float
    macs_range: tuple[int, int]
    kernels_range: tuple[int, int]
    energy_macs_range: tuple[int, int] | None
    energy_kernels_range: tuple[int, int] | None
    precisions: tuple[str, ...]
    energy_precisions: tuple[str, ...]


def calibration_of(target: str, path: str | None = None) -> Calibration:
    """The calibration of a target: of the user's file `path`, or else the one that ships with edgesynth.

    Raises KeyError for a target that has neither.
    """
    return calibration(Path(path) if path else Path(__file__).with_name(SHIPPED[target]))


@cache
def calibration(path: Path) -> Calibration:
    """What `path` says. Raises KeyError, TypeError or ValueError where the file is none of this form."""
    return parsed(path.read_text(encoding="utf-8"), path.stem)


def parsed(text: str, name: str) -> Calibration:
    """A calibration from the text of its file. Raises as `calibration` does, also for values that cannot be."""
    document = tomllib.loads(text)
    values = {key: float(entry["value"]) for key, entry in (document["published"] | document["fitted"]).items()}
    overhead = document["overhead"]
    values["overhead_ms"] = float(overhead["value"])
    latency, energy = document["uncertainty"]["latency"], document["uncertainty"].get("energy")
    ranges = {key: (int(low), int(high)) for key, (low, high) in document["ranges"].items()}
    found = Calibration(
        name=name,
        version=str(document["version"]),
        board=document["board"],
        constants=Constants(**{field.name: values[field.name] for field in fields(Constants)}),
        power=None if energy is None else Power(**{field.name: values[field.name] for field in fields(Power)}),
        no_power=document.get("no_power"),
        overhead_range_ms=(float(overhead["low"]), float(overhead["high"])),
        overhead_source=str(overhead["source"]),
        fitted=tuple(latency["names"]),
        covariance=np.array(latency["covariance"], dtype=np.float64),
        energy_fitted=tuple(energy["names"]) if energy else (),
        energy_covariance=np.array(energy["covariance"] if energy else [], dtype=np.float64),
        launch_bound_rms=float(latency["launch_bound_rms"]),
        gpu_bound_rms=float(latency["gpu_bound_rms"]),
        energy_rms=float(energy["rms"]) if energy else 0.0,
        macs_range=ranges["macs"],
        kernels_range=ranges["kernels"],
        energy_macs_range=ranges.get("energy_macs"),
        energy_kernels_range=ranges.get("energy_kernels"),
        precisions=tuple(latency["precisions"]),
        energy_precisions=tuple(energy["precisions"]) if energy else (),
    )
    _check(found)
    return found


def _check(known: Calibration) -> None:
    """Raises ValueError for what no fit can have found: an estimate by it would look like any other."""
    values = vars(known.constants) | ({} if known.power is None else vars(known.power))
    for name, value in values.items():
        if not 0 < value < GREATEST:
            raise ValueError(f"{name} is {value}")
    low, high = known.overhead_range_ms
    if not 0 <= low <= known.constants.overhead_ms <= high < GREATEST:
        raise ValueError(f"overhead {known.constants.overhead_ms} is not between {low} and {high}")
    for rms in (known.launch_bound_rms, known.gpu_bound_rms, known.energy_rms):
        if not 0 <= rms < GREATEST:
            raise ValueError(f"an rms is {rms}")
    _check_covariance(known.fitted, known.constants, known.covariance)
    if known.power is not None:
        _check_covariance(known.energy_fitted, known.power, known.energy_covariance)


def _check_covariance(names: tuple[str, ...], of: Constants | Power, covariance: Floats) -> None:
    if unknown := set(names) - set(vars(of)):
        raise ValueError(f"{', '.join(sorted(unknown))} cannot be fitted")
    if covariance.shape != (len(names), len(names)) or not np.isfinite(covariance).all():
        raise ValueError(f"the covariance is not {len(names)} x {len(names)} numbers")
    eigenvalues = np.linalg.eigvalsh(covariance)
    if eigenvalues[0] < -ROUNDING * abs(eigenvalues[-1]):
        raise ValueError("the covariance is none: it has variances below zero")
