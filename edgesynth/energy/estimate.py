"""An estimate of latency and energy from an ONNX file, without a device."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgesynth_exporters.onnx_graph import read_graph
from edgesynth_exporters.targets import find_target, model_of

from edgesynth.energy.constants import CONSTANTS_FILE, Calibration, calibration
from edgesynth.energy.kernels import BYTES, Kernel, Precision, kernels_of
from edgesynth.energy.model import Energy, Load, Timing, energy_of, timing_of
from edgesynth.energy.uncertainty import energy_interval_mj, latency_interval_ms
from edgesynth.errors import EdgesynthError
from edgesynth.records import Engine, Latency, Measurement

__all__ = ["Analysis", "analyse", "estimate"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class Analysis:
    """An estimate together with what it was made of."""

    measurement: Measurement
    kernels: list[Kernel]
    timing: Timing
    energy: Energy


def estimate(
    onnx: Path, target: str, precision: Literal["fp32", "fp16", "int8"] = "fp16", batch: int = 1
) -> Measurement:
    """What `analyse` estimates, as a record. Figures are per inference of the whole batch."""
    return analyse(onnx, target, precision, batch).measurement


def analyse(onnx: Path, target: str, precision: str = "fp16", batch: int = 1) -> Analysis:
    """Estimates latency and energy of the network in `onnx` on `target`.

    Raises EdgesynthError for a target without a model or a precision that its board lacks, and ModelFileError for
    a file that cannot be used.
    """
    _check_target(target)
    checked = _precision(precision)
    kernels, warnings = kernels_of(read_graph(onnx, batch), checked)
    if not kernels:
        raise EdgesynthError(f"{onnx}: nothing to run on a GPU; every operator in it is constant or free")
    known, load = calibration(), Load.of(kernels, checked)
    timing = timing_of(load, known.constants)
    energy = energy_of(load, known.constants, timing.latency_ms)
    low_mj, high_mj = energy_interval_mj(load, known)
    measurement = Measurement(
        schema="edgesynth.measurement/1",
        target=target,
        source="estimated",
        device=_device(known),
        engine=Engine(
            backend="model",
            version=f"{target}/{known.version}",
            precision=checked,
            batch=batch,
            flags={
                "kernels": len(kernels),
                "macs": sum(kernel.macs for kernel in kernels),
                "params": sum(kernel.params for kernel in kernels),
            },
        ),
        windows=[],
        idle_power_w=known.constants.idle_power_w,
        power_w=energy.total_mj / timing.latency_ms,
        latency_ms=Latency(mean=timing.latency_ms, p50=None, p90=None, p99=None),
        energy_mj=energy.total_mj,
        inferences_per_joule=1e3 / energy.total_mj,
        ci95={
            "latency_ms": latency_interval_ms(load, known),
            "energy_mj": (low_mj, high_mj),
            "inferences_per_joule": (1e3 / high_mj, 1e3 / low_mj),
        },
        warnings=[
            "latency_ms has no p50, p90, p99: the model knows a mean only",
            *warnings,
            *_extrapolations(kernels, checked, batch, known),
        ],
    )
    return Analysis(measurement, kernels, timing, energy)


def _check_target(target: str) -> None:
    found = find_target(target)
    if found.kind == "host":
        raise EdgesynthError(
            f"there is no model of target '{target}': measure there with 'edgesynth bench', or estimate for tx2-sim"
        )
    model = model_of(found)
    if found.kind == "board" and model is not None:
        raise EdgesynthError(
            f"{target} is a board, not a model: estimate for {model.name}, the model of a {model.based_on}"
        )
    if found.kind == "board":
        raise EdgesynthError(f"there is no model of target '{target}': estimate for tx2-sim, a model of the Jetson TX2")


def _precision(precision: str) -> Precision:
    if precision == "int8":
        raise EdgesynthError(
            "a Jetson TX2 does not run int8 networks: TensorRT has no int8 kernels for its GPU "
            "(compute capability 6.2); use fp16"
        )
    for known in BYTES:
        if known == precision:
            return known
    raise EdgesynthError(f"unknown precision '{precision}': known are {', '.join(BYTES)}")


def _device(known: Calibration) -> dict[str, Any]:
    board: dict[str, Any] = tomllib.loads(CONSTANTS_FILE.read_text(encoding="utf-8"))["board"]
    c = known.constants
    return board | {"gpu_clock_hz": c.gpu_clock_mhz * 1e6, "memory_clock_hz": c.memory_clock_mhz * 1e6}


def _extrapolations(kernels: Sequence[Kernel], precision: str, batch: int, known: Calibration) -> list[str]:
    """What about this network no fitted row speaks for."""
    macs, count = sum(kernel.macs for kernel in kernels), len(kernels)
    found = []
    for what, value, latency_range, energy_range in (
        ("multiply-accumulates", macs, known.macs_range, known.energy_macs_range),
        ("kernels", count, known.kernels_range, known.energy_kernels_range),
    ):
        for figure, (low, high) in (("latency", latency_range), ("energy", energy_range)):
            if not low <= value <= high:
                found.append(f"{figure} is extrapolated: {value:,} {what}, fitted on {low:,} to {high:,}")
    if precision != "fp32":
        found.append(f"energy is extrapolated: joules were published at fp32 only, not at {precision}")
    if any(kernel.kind == "depthwise" for kernel in kernels):
        found.append("latency is extrapolated: no fitted network has depthwise convolutions")
    if batch != 1:
        found.append("latency and energy are extrapolated: fitted on batch 1 only")
    return found
