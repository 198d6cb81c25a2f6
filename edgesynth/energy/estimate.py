"""An estimate of latency and energy from an ONNX file, without a device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgesynth_exporters.onnx_graph import read_graph
from edgesynth_exporters.targets import Target, find_power_mode, find_target, model_of

from edgesynth.energy.constants import SHIPPED, Calibration, Clocks, calibration_of
from edgesynth.energy.kernels import BYTES, Kernel, Precision, kernels_of
from edgesynth.energy.layers import layer_costs
from edgesynth.energy.model import Energy, Load, Timing, energy_of, timing_of
from edgesynth.energy.uncertainty import energy_interval_mj, latency_interval_ms
from edgesynth.errors import EdgesynthError
from edgesynth.records import Engine, Interval, Latency, Measurement

__all__ = ["Analysis", "analyse", "estimate", "estimate_kernels", "find_model"]


@dataclass(frozen=True)
class Analysis:
    """An estimate together with what it was made of. `energy` is None where the target's model knows no joules."""

    measurement: Measurement
    kernels: list[Kernel]
    timing: Timing
    energy: Energy | None


def estimate(
    onnx: Path,
    target: str,
    precision: Literal["fp32", "fp16", "int8"] = "fp16",
    batch: int = 1,
    power_mode: int | None = None,
) -> Measurement:
    """What `analyse` estimates, as a record. Figures are per inference of the whole batch."""
    return analyse(onnx, target, precision, batch, power_mode).measurement


def analyse(
    onnx: Path, target: str, precision: str = "fp16", batch: int = 1, power_mode: int | None = None
) -> Analysis:
    """Estimates latency and energy of the network in `onnx` on `target`, in the mode of nvpmodel with that number or
    else in the one that the target's model was fitted in.

    Raises EdgesynthError for a target without a model, a precision or a mode that its board lacks, and ModelFileError
    for a file that cannot be used.
    """
    found, known = find_model(target)
    checked = _precision(precision, found, known)
    clocks = None if power_mode is None else _clocks(found, known, power_mode)
    kernels, warnings = kernels_of(read_graph(onnx, batch), checked)
    if not kernels:
        raise EdgesynthError(f"{onnx}: nothing to run on a GPU; every operator in it is constant or free")
    return estimate_kernels(kernels, found, known, checked, batch, clocks, power_mode, warnings)


def estimate_kernels(
    kernels: list[Kernel],
    target: Target,
    known: Calibration,
    precision: Precision,
    batch: int,
    clocks: Clocks | None = None,
    power_mode: int | None = None,
    warnings: Sequence[str] = (),
) -> Analysis:
    """The estimate of kernels that are known already; `warnings` are about them."""
    load = Load.of(kernels, precision)
    timing = timing_of(load, known.constants, clocks)
    latency_ms = float(timing.latency_ms)
    energy = None if known.power is None else energy_of(load, known.power, latency_ms)
    ci95: dict[str, Interval | None] = {
        "latency_ms": latency_interval_ms(load, known, clocks),
        "energy_mj": None,
        "inferences_per_joule": None,
    }
    if known.power is not None:
        low_mj, high_mj = energy_interval_mj(load, known, known.power, clocks)
        ci95 |= {"energy_mj": (low_mj, high_mj), "inferences_per_joule": (1e3 / high_mj, 1e3 / low_mj)}
    measurement = Measurement(
        schema="edgesynth.measurement/1",
        target=target.name,
        source="estimated",
        device=_device(target, known, clocks or known.constants.clocks, power_mode),
        engine=Engine(
            backend="model",
            version=f"{target.name}/{known.version}",
            precision=precision,
            batch=batch,
            flags={
                "kernels": len(kernels),
                "macs": sum(kernel.macs for kernel in kernels),
                "params": sum(kernel.params for kernel in kernels),
            },
        ),
        windows=[],
        idle_power_w=None if known.power is None else known.power.idle_power_w,
        power_w=None if energy is None else energy.total_mj / latency_ms,
        latency_ms=Latency(mean=latency_ms, p50=None, p90=None, p99=None),
        energy_mj=None if energy is None else energy.total_mj,
        inferences_per_joule=None if energy is None else 1e3 / energy.total_mj,
        ci95=ci95,
        warnings=[
            "latency_ms has no p50, p90, p99: the model knows a mean only",
            *warnings,
            *_assumptions(known),
            *_extrapolations(kernels, precision, batch, known, power_mode),
        ],
        layers=layer_costs(kernels, load, timing, known.power),
    )
    return Analysis(measurement, kernels, timing, energy)


def find_model(name: str) -> tuple[Target, Calibration]:
    """The target of that name and the constants of its model. Raises EdgesynthError where it is none, or is damaged."""
    found = find_target(name)
    if found.kind == "host":
        raise EdgesynthError(
            f"there is no model of target '{name}': measure there with 'edgesynth bench', or estimate for tx2-sim"
        )
    model = model_of(found)
    if found.kind == "board" and model is not None:
        raise EdgesynthError(
            f"{name} is a board, not a model: estimate for {model.name}, the model of a {model.based_on}"
        )
    if found.kind == "board":
        raise EdgesynthError(
            f"there is no model of target '{name}': no measured networks of that board were found to fit one on; "
            f"estimate for {' or '.join(SHIPPED)}"
        )
    try:
        return found, calibration_of(found.name, found.constants)
    except (KeyError, TypeError, ValueError) as error:
        raise EdgesynthError(
            f"{found.constants}: not a model that this version of edgesynth can read ({error}): run edgesynth calibrate"
        ) from error


def _precision(precision: str, target: Target, known: Calibration) -> Precision:
    if precision == "int8":
        raise EdgesynthError(
            f"{known.board['model']} does not run int8 networks: TensorRT has no int8 kernels for its GPU "
            f"(compute capability {target.compute_capability}); use fp16"
        )
    for name in BYTES:
        if name == precision:
            return name
    raise EdgesynthError(f"unknown precision '{precision}': known are {', '.join(BYTES)}")


def _clocks(target: Target, known: Calibration, power_mode: int) -> Clocks:
    """Those of a mode; where it caps none, those that the constants were fitted at."""
    mode, most = find_power_mode(target, power_mode), known.constants
    return Clocks(
        gpu_mhz=mode.gpu_mhz or most.gpu_clock_mhz,
        memory_mhz=mode.memory_mhz or most.memory_clock_mhz,
        cpu_mhz=mode.cpu_mhz or most.cpu_clock_mhz,
    )


def _device(target: Target, known: Calibration, clocks: Clocks, power_mode: int | None) -> dict[str, Any]:
    names = {mode.id: mode.name for mode in target.power_modes}
    mode = known.board["power_mode"] if power_mode is None else f"{power_mode} ({names[power_mode]})"
    return known.board | {
        "board": target.based_on,
        "power_mode": mode,
        "gpu_clock_hz": float(clocks.gpu_mhz) * 1e6,
        "memory_clock_hz": float(clocks.memory_mhz) * 1e6,
        "cpu_clock_hz": float(clocks.cpu_mhz) * 1e6,
    }


def _assumptions(known: Calibration) -> list[str]:
    low, high = known.overhead_range_ms
    found = [
        f"latency holds {known.constants.overhead_ms:.2g} ms of overhead besides the kernels, {low:.2g} to {high:.2g}: "
        f"{known.overhead_source}"
    ]
    if known.no_power is not None:
        found.append(f"energy_mj is unknown: {known.no_power}")
    return found


def _extrapolations(
    kernels: Sequence[Kernel], precision: str, batch: int, known: Calibration, power_mode: int | None
) -> list[str]:
    """What about this network no fitted row speaks for."""
    macs, count = sum(kernel.macs for kernel in kernels), len(kernels)
    found = []
    for what, value, latency_range, energy_range in (
        ("multiply-accumulates", macs, known.macs_range, known.energy_macs_range),
        ("kernels", count, known.kernels_range, known.energy_kernels_range),
    ):
        for figure, limits in (("latency", latency_range), ("energy", energy_range)):
            if limits is not None and not limits[0] <= value <= limits[1]:
                found.append(f"{figure} is extrapolated: {value:,} {what}, fitted on {limits[0]:,} to {limits[1]:,}")
    if precision not in known.precisions:
        found.append(f"latency is extrapolated: fitted at {', '.join(known.precisions)} only, not at {precision}")
    if known.power is not None and precision not in known.energy_precisions:
        found.append(
            f"energy is extrapolated: joules are known at {', '.join(known.energy_precisions)} only, not at {precision}"
        )
    if any(kernel.kind == "depthwise" for kernel in kernels):
        found.append("latency is extrapolated: no fitted network has depthwise convolutions")
    if batch != 1:
        found.append("latency and energy are extrapolated: fitted on batch 1 only")
    if power_mode is not None:
        found.append(
            f"power mode {power_mode} counts by its clocks alone; energy is extrapolated: a lower clock also needs "
            "less power, which no row tells, so joules are too high where a mode lowers clocks"
        )
    return found
