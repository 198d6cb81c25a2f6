"""The verdict of `edgesynth export`: Polygraphy's comparator between PyTorch's answers and the file's.

Polygraphy: https://github.com/NVIDIA/TensorRT, tools/Polygraphy.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesynth_exporters.errors import ParityError

__all__ = ["ABSOLUTE", "Comparison", "compare", "joined", "judge_fp32"]

FloatArray = NDArray[np.float32]

ABSOLUTE, RELATIVE = 1e-4, 1e-5
"""Greatest error allowed in fp32, in units of the output; or, where outputs are beyond 10, relative to the greatest of
them: a float32 of 1,000 has steps of 6e-5 itself."""


@dataclass(frozen=True)
class Comparison:
    """One output of a file against PyTorch's. Errors and `tolerance` (None: only reported) in units of the output;
    `greatest` is the greatest magnitude that PyTorch gave.

    `argmax_agreement` is the share of `answers` with the same greatest channel, one answer an image or one a position;
    None where there are no channels to choose from.
    """

    images: int
    max_abs_error: float
    mean_abs_error: float
    greatest: float
    tolerance: float | None
    answers: int
    argmax_agreement: float | None
    passed: bool


def compare(
    actual: Mapping[str, FloatArray], expected: Mapping[str, FloatArray], bounded: bool = True
) -> dict[str, Comparison]:
    """Compare outputs by name, each (N, …) for the same N images. Unless `bounded`, every finite difference passes.

    Raises ParityError where names or shapes differ, or the file answers with something that is no number.
    """
    if list(actual) != list(expected):
        raise ParityError(f"the file has the outputs {', '.join(actual)}, PyTorch gave {', '.join(expected)}")
    for name, values in actual.items():
        if values.shape != expected[name].shape:
            raise ParityError(f"output '{name}' has shape {values.shape}, PyTorch gave {expected[name].shape}")
        if not np.isfinite(values).all():
            raise ParityError(f"output '{name}' holds values that are no finite numbers, where PyTorch gave numbers")
    greatest = {name: float(np.abs(values).max(initial=0.0)) for name, values in expected.items()}
    tolerances = {name: max(ABSOLUTE, RELATIVE * size) if bounded else math.inf for name, size in greatest.items()}
    results = _by_polygraphy(actual, expected, tolerances)
    return {
        name: Comparison(
            images=len(actual[name]),
            max_abs_error=result.max_absdiff,
            mean_abs_error=result.mean_absdiff,
            greatest=greatest[name],
            tolerance=tolerances[name] if bounded else None,
            answers=len(actual[name]) * math.prod(actual[name].shape[2:]),
            argmax_agreement=_agreement(actual[name], expected[name]),
            passed=bool(result),
        )
        for name, result in results.items()
    }


def joined(parts: Sequence[Mapping[str, Comparison]]) -> dict[str, Comparison]:
    """One comparison out of those of several batches of images, one or more."""
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _joined(parts: Sequence[Comparison]) -> Comparison:
    images = sum(part.images for part in parts)

    def mean(values: Iterable[float]) -> float:
        return sum(value * part.images for value, part in zip(values, parts, strict=True)) / images

    agreements = [part.argmax_agreement for part in parts if part.argmax_agreement is not None]
    tolerances = [part.tolerance for part in parts if part.tolerance is not None]
    return Comparison(
        images=images,
        max_abs_error=max(part.max_abs_error for part in parts),
        mean_abs_error=mean(part.mean_abs_error for part in parts),
        greatest=max(part.greatest for part in parts),
        tolerance=max(tolerances) if tolerances else None,
        answers=sum(part.answers for part in parts),
        argmax_agreement=mean(agreements) if agreements else None,
        passed=all(part.passed for part in parts),
    )


def judge_fp32(comparisons: Mapping[str, Comparison]) -> None:
    """Raise ParityError for the first output that is beyond its tolerance; or that names another class for one image,
    where it is one answer an image (of the many answers of a map, some may be ties)."""
    for name, found in comparisons.items():
        if not found.passed:
            raise ParityError(
                f"output '{name}' differs from PyTorch's by up to {found.max_abs_error:.3g}, and {found.tolerance:.3g} "
                f"is allowed (same answer on {_share(found.argmax_agreement)} of {found.images} images)"
            )
        if found.answers == found.images and found.argmax_agreement not in (None, 1.0):
            raise ParityError(
                f"output '{name}' gives the same answer as PyTorch on {_share(found.argmax_agreement)} of "
                f"{found.images} images only, the greatest error being {found.max_abs_error:.3g}"
            )


def _by_polygraphy(
    actual: Mapping[str, FloatArray], expected: Mapping[str, FloatArray], tolerances: Mapping[str, float]
) -> dict[str, Any]:
    """Polygraphy's result for each output: true where all is within tolerance, with the errors as attributes."""
    from polygraphy import config
    from polygraphy.comparator import Comparator, RunResults, SimpleCompareFunc
    from polygraphy.logger import G_LOGGER

    # An environment variable would make it install packages by itself.
    config.AUTOINSTALL_DEPS = False
    runs = RunResults()
    for runner, outputs in (("onnxruntime", actual), ("pytorch", expected)):
        runs.add([{name: np.asarray(values, np.float64) for name, values in outputs.items()}], runner_name=runner)
    judge = SimpleCompareFunc(atol=dict(tolerances), rtol=0.0, check_error_stat="max")
    # It takes relative errors as well, also where the output is 0.
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL), np.errstate(divide="ignore", invalid="ignore"):
        (result,) = Comparator.compare_accuracy(runs, compare_func=judge)
    ((by_output,),) = result.values()
    return dict(by_output)


def _agreement(actual: FloatArray, expected: FloatArray) -> float | None:
    if actual.ndim < 2 or actual.shape[1] < 2:
        return None
    return float((actual.argmax(axis=1) == expected.argmax(axis=1)).mean())


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2%}"
