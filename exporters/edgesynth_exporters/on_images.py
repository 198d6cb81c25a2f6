"""One network three times, by PyTorch, as an fp32 file and as a file of lower precision, on the same images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesynth_exporters.comparison import Comparison, compare, joined
from edgesynth_exporters.export_record import MetricInfo
from edgesynth_exporters.parity import open_runner
from edgesynth_exporters.reference import REFERENCES
from edgesynth_exporters.subject import Metric

__all__ = ["PARITY_IMAGES", "Seen", "batch_size", "compare_on_images"]

FloatArray = NDArray[np.float32]
Answers = Mapping[str, FloatArray]

PARITY_IMAGES = 256
"""So many are enough to compare outputs in fp32; a metric wants more."""
BATCH, BATCH_NUMBERS = 64, 1 << 21
"""Images at once: so many, or fewer where they have more numbers, in and out together."""


@dataclass(frozen=True)
class Seen:
    """What the images showed. `lower` is None where there is no file of lower precision. `inputs` are the first
    REFERENCES images, `outputs` PyTorch's answers to them."""

    fp32: dict[str, Comparison]
    lower: dict[str, Comparison] | None
    metric: MetricInfo | None
    inputs: FloatArray
    outputs: Answers


def compare_on_images(
    images: FloatArray, pytorch: Callable[[int, int], Answers], fp32: Path, lower: Path | None, metric: Metric | None
) -> Seen:
    """Compare the files with PyTorch on images (N, C, H, W), batch by batch. `pytorch` gives its answers to those from
    one index up to another. Files may compute anything: the caller judges.

    Raises EdgesynthError where PyTorch itself gives no numbers, ParityError where a file gives none, ModelFileError
    where ONNX Runtime does not take one.
    """
    exact = open_runner(fp32)
    rough = None if lower is None else open_runner(lower, exact=True)
    exact_parts: list[dict[str, Comparison]] = []
    rough_parts: list[dict[str, Comparison]] = []
    kept: list[Answers] = []
    scored: list[tuple[FloatArray, FloatArray]] = []
    done, size = 0, batch_size(images, lambda part: pytorch(0, len(part)))
    while done < len(images):
        part = images[done : done + size]
        expected = pytorch(done, done + len(part))
        if done < REFERENCES:
            kept.append({name: values[: REFERENCES - done] for name, values in expected.items()})
        actual: Answers = {}
        if rough is None or done < PARITY_IMAGES:
            actual = exact(part)
            exact_parts.append(compare(actual, expected))
        if rough is not None:
            actual = rough(part)
            rough_parts.append(compare(actual, expected, bounded=False))
        if metric is not None and done < metric.images:
            scored.append((next(iter(expected.values())), next(iter(actual.values()))))
        done += size
    return Seen(
        fp32=joined(exact_parts),
        lower=joined(rough_parts) if rough_parts else None,
        metric=None if metric is None else _scores(metric, scored),
        inputs=images[:REFERENCES],
        outputs={name: np.concatenate([part[name] for part in kept]) for name in kept[0]},
    )


def batch_size(images: FloatArray, pytorch: Callable[[FloatArray], Answers]) -> int:
    """Images to be run at once; `pytorch` is asked for one."""
    numbers = prod(images.shape[1:]) + sum(values.size for values in pytorch(images[:1]).values())
    return max(1, min(BATCH, BATCH_NUMBERS // numbers))


def _scores(metric: Metric, answers: Sequence[tuple[FloatArray, FloatArray]]) -> MetricInfo:
    """The metric of PyTorch's answers and of the file's, of the first output."""
    pytorch, exported = (
        metric.evaluate(np.concatenate(parts)[: metric.images]) for parts in zip(*answers, strict=True)
    )
    return MetricInfo(
        name=metric.name, images=metric.images, pytorch=pytorch, exported=exported, drop=pytorch - exported
    )
