"""Boards whose truth nobody is told: the model of a TX2 with other constants, and with what the model does not know."""

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from edgesynth_exporters.onnx_graph import read_graph

from edgesynth.energy.constants import Constants, Power, calibration_of
from edgesynth.energy.kernels import Kernel, kernels_of
from edgesynth.energy.model import Load, energy_of, timing_of

__all__ = ["NOISE", "HiddenBoard"]

NOISE = 0.01
"""Standard deviation of the logarithm of a measured figure."""
ODDITY = 0.01
"""The same, of what is particular to one network on one board, and can be neither modelled nor averaged out."""
KINDS = {"convolution": 0.25, "matrix product": 0.4, "pooling": 0.4, "sum": 0.4, "copy": 0.6}
"""Launches of a kind take so much longer or shorter (standard deviation of the logarithm) than the model's."""
TACTIC = 0.4
"""The same, for the arithmetic of a convolution of one shape: TensorRT has another kernel for it."""
CONSTANTS = {
    "launch_us": 0.2, "pooling_us": 0.3, "sum_us": 0.5, "half_channels": 0.5, "memory_bytes_per_clock": 0.3,
}  # fmt: skip
POWER = {
    "idle_power_w": 0.15, "active_power_w": 0.5, "fp32_pj_per_mac": 0.5, "fp16_energy_ratio": 0.3,
    "memory_pj_per_byte": 0.35,
}  # fmt: skip
SLOWEST = 8.0
"""Arithmetic is up to so many times slower than the model's: some boards are bound by it where the model is not."""
ALIGNMENTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class HiddenBoard:
    """One of endlessly many. What differs from `tx2-sim`, drawn by `seed`:

    the overhead of the program around the engine, anywhere in the range that the model gives for it; every constant of
    latency and power; launches, by kind of kernel; arithmetic, by the shape of a convolution; channels are computed in
    multiples of `alignment`; and a little for each network.
    """

    seed: int
    constants: Constants
    power: Power
    alignment: int

    @classmethod
    def of(cls, seed: int) -> "HiddenBoard":
        chance, known = np.random.default_rng([seed, 7]), calibration_of("tx2-sim")
        if known.power is None:
            raise ValueError("tx2-sim knows joules")
        low_ms, high_ms = known.overhead_range_ms
        changes = {name: getattr(known.constants, name) * _factor(chance, by) for name, by in CONSTANTS.items()}
        powers = {name: getattr(known.power, name) * _factor(chance, by) for name, by in POWER.items()}
        changes["efficiency_fp16"] = known.constants.efficiency_fp16 / math.exp(chance.uniform(0, math.log(SLOWEST)))
        constants = replace(known.constants, overhead_ms=chance.uniform(low_ms, high_ms), **changes)
        return cls(seed, constants, replace(known.power, **powers), int(chance.choice(ALIGNMENTS)))

    def truth(self, onnx: Path) -> tuple[float, float]:
        """Latency in ms and energy in mJ of one inference."""
        kernels, _ = kernels_of(read_graph(onnx, 1), "fp16")
        kernels = [self._aligned(kernel) for kernel in kernels]
        load = Load.of(kernels, "fp16")
        slower = np.array([self._drawn(kernel.kind, KINDS.get(kernel.kind, 0.3)) for kernel in kernels])
        shapes = [f"{k.rows} {k.columns} {k.depth} {k.kind}" for k in kernels]
        tactics = np.array([self._drawn(shape, TACTIC) for shape in shapes])
        load = replace(
            load, launches=load.launches * slower, pools=load.pools * slower, rows=load.rows * tactics,
        )  # fmt: skip
        latency_ms = float(timing_of(load, self.constants).latency_ms)
        energy_mj = energy_of(load, self.power, latency_ms).total_mj
        key = " ".join(shapes)
        return latency_ms * self._drawn(key, ODDITY), energy_mj * self._drawn(f"{key} mJ", ODDITY)

    def measured(self, onnx: Path, truth: tuple[float, float]) -> tuple[float, float]:
        """As the truth, with the noise of measuring; the same each time for the same file."""
        latency_ms, energy_mj = truth
        name = f"{onnx.parent.name}/{onnx.name}"
        return latency_ms * self._drawn(f"{name} ms", NOISE), energy_mj * self._drawn(f"{name} mJ", NOISE)

    def _aligned(self, kernel: Kernel) -> Kernel:
        def up(size: int) -> int:
            return -(-size // self.alignment) * self.alignment

        if kernel.kind != "convolution":
            return kernel
        return replace(kernel, columns=up(kernel.columns), depth=up(kernel.depth))

    def _drawn(self, key: str, deviation: float) -> float:
        """A factor that belongs to `key` on this board."""
        digest = hashlib.sha256(f"{self.seed} {key}".encode()).digest()
        return _factor(np.random.default_rng(int.from_bytes(digest[:8], "big")), deviation)


def _factor(chance: np.random.Generator, deviation: float) -> float:
    return math.exp(deviation * float(chance.standard_normal()))
