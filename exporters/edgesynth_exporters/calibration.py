"""Calibration for int8: how large the numbers in every tensor get on real images, and where to clip them.

A tensor quantized symmetrically has the scale amax / 127, and what is greater than amax is clipped. Four choices of
amax are tried, and the one whose quantized network answers most like the original on the calibration images is taken:
none is best for all. Least relative entropy is the choice of TensorRT's entropy calibrators
(http://on-demand.gputechconf.com/gtc/2017/presentation/s7310-8-bit-inference-with-tensorrt.pdf), yet it cost a
ResNet-20 for Fashion-MNIST 1.4 points of accuracy and the greatest magnitude none; for large networks it is often the
other way round. (ONNX Runtime's own entropy calibrator prints to stdout, and takes 22 s for this where 2,048 bins are
asked for.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from edgesynth_exporters.errors import ExportError
from edgesynth_exporters.runtime import open_session

__all__ = ["METHODS", "Histogram", "magnitudes", "thresholds"]

FloatArray = NDArray[np.float32]

BINS = 2048
LEVELS = 128
"""Magnitudes that an int8 of one sign can tell apart."""
STEP = 8
"""Candidates for the least entropy are so many bins apart."""
LEAST = 1e-8
"""amax of a tensor that is all zeros: a scale must be greater than 0."""


@dataclass
class Histogram:
    """Magnitudes of all numbers that went through one tensor, in BINS bins from 0 to `limit`, which grows as needed."""

    limit: float = LEAST
    amax: float = 0.0
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))

    def add(self, values: FloatArray) -> None:
        """Count some more numbers, finite ones. The bins are made twice as wide until all have a place."""
        found = np.abs(values).ravel()
        if not found.size:
            return
        self.amax = max(self.amax, float(found.max()))
        if not self.counts.any():
            self.limit = max(self.amax, LEAST)
        while self.amax > self.limit:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2)])
            self.limit *= 2
        indices = np.minimum((found * (BINS / self.limit)).astype(np.int64), BINS - 1)
        self.counts += np.bincount(indices, minlength=BINS)


def magnitudes(model: onnx.ModelProto, images: FloatArray) -> dict[str, Histogram]:
    """Histograms of the model's input and of every float tensor that its nodes make, by name, on images
    (N, C, H, W) fed one batch of the model's own size after the other. Memory: the tensors of one batch.

    Raises ExportError for a tensor with an infinity or a NaN, and whatever ONNX Runtime raises.
    """
    model = onnx.shape_inference.infer_shapes(model)
    outputs = {value.name for value in model.graph.output}
    known = {value.name: value for value in model.graph.value_info}
    for name in (name for node in model.graph.node for name in node.output):
        value = known.get(name)
        if name not in outputs and value is not None and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            model.graph.output.append(value)
    session = open_session(model)
    (given,) = session.get_inputs()
    names = [value.name for value in session.get_outputs() if value.type == "tensor(float)"]
    histograms = {name: Histogram() for name in (given.name, *names)}
    for start in range(0, len(images), given.shape[0]):
        part = images[start : start + given.shape[0]]
        for name, values in zip((given.name, *names), (part, *session.run(names, {given.name: part})), strict=True):
            if not np.isfinite(values).all():
                raise ExportError(f"cannot calibrate: tensor '{name}' holds values that are no finite numbers")
            histograms[name].add(values)
    return histograms


def thresholds(histograms: Mapping[str, Histogram], method: str) -> dict[str, float]:
    """amax by tensor name, by one of METHODS."""
    choose = METHODS[method]
    return {name: max(choose(histogram), LEAST) for name, histogram in histograms.items()}


def _percentile(share: float) -> Callable[[Histogram], float]:
    def choose(histogram: Histogram) -> float:
        reached = histogram.counts.cumsum()
        index = int(np.searchsorted(reached, share * reached[-1]))
        return min((index + 1) * histogram.limit / BINS, histogram.amax)

    return choose


def _least_entropy(histogram: Histogram) -> float:
    """Where the distribution that is left after clipping and quantizing tells most of the original one."""
    counts = histogram.counts.copy()
    counts[0] = counts[1]  # exact zeros, of which ReLU makes most, cost nothing at any scale
    used = int(np.flatnonzero(counts).max(initial=0)) + 1
    total, sums = counts.sum(), np.concatenate([[0.0], counts.cumsum()])
    occupied = np.concatenate([[0], (counts > 0).cumsum()])
    if used <= LEVELS or total == 0:
        return histogram.amax
    best = (np.inf, used)
    for bins in [*range(LEVELS, used, STEP), used]:
        reference = counts[:bins].copy()
        reference[-1] += total - sums[bins]
        edges = np.round(np.linspace(0, bins, LEVELS + 1)).astype(np.int64)
        mass, places = np.diff(sums[edges]), np.diff(occupied[edges])
        spread = np.divide(mass, places, out=np.zeros(LEVELS), where=places > 0)
        quantized = np.repeat(spread, np.diff(edges)) * (counts[:bins] > 0)
        best = min(best, (_divergence(reference, quantized), bins))
    return min(best[1] * histogram.limit / BINS, histogram.amax)


def _divergence(reference: NDArray[np.float64], quantized: NDArray[np.float64]) -> float:
    """Relative entropy of two unnormalised distributions; a bin that only the reference has costs much."""
    there = reference > 0
    p = reference[there] / reference.sum()
    q = np.maximum(quantized[there] / max(quantized.sum(), LEAST), 1e-9)
    return float((p * np.log(p / q)).sum())


METHODS: Mapping[str, Callable[[Histogram], float]] = {
    "greatest": lambda histogram: histogram.amax,
    "percentile 99.999": _percentile(0.99999),
    "percentile 99.99": _percentile(0.9999),
    "entropy": _least_entropy,
}
"""Name to the choice of amax."""
