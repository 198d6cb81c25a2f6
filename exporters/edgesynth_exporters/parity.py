"""Does the exported file compute what the PyTorch network computes?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesynth_exporters.errors import ModelFileError, ParityError, first_line
from edgesynth_exporters.runtime import open_session

__all__ = ["ParityResult", "check_parity", "open_runner", "run_onnx", "run_onnx_outputs"]

FloatArray = NDArray[np.float32]

TOLERANCE = 1e-3
"""Greatest error, relative to the greatest output (or absolute, where outputs are below 1): fp32 against fp32,
so only the order of additions differs. Laxer than the bounds of `edgesynth export` (comparison.py), which judges one
network that somebody wants: here a network of a search that was trained for hours would be lost to a near tie."""

AGREEMENT = 0.99
"""Least share of images with the same greatest output: near ties may fall either way."""


@dataclass(frozen=True)
class ParityResult:
    """`max_abs_error` in units of the output; `argmax_agreement` is a share of the images."""

    images: int
    max_abs_error: float
    argmax_agreement: float


def check_parity(path: Path, images: FloatArray, expected: FloatArray | Mapping[str, FloatArray]) -> ParityResult:
    """Run the file on real `images` (N, C, H, W) by ONNX Runtime and compare with `expected`: (N, classes), (N, …)
    with the classes in the second dimension, or several such outputs by name. The worst of them is the result.

    Raises ParityError that names the worst output, ModelFileError where the file does not load.
    """
    actual = run_onnx_outputs(path, images)
    if not isinstance(expected, Mapping):
        expected = {next(iter(actual)): expected}
    if actual.keys() != expected.keys():
        raise ParityError(f"{path}: outputs {', '.join(actual)}, PyTorch gave {', '.join(expected)}")
    parts = [_compare(path, name if len(actual) > 1 else None, actual[name], expected[name]) for name in actual]
    return ParityResult(
        len(images), max(part.max_abs_error for part in parts), min(part.argmax_agreement for part in parts)
    )


def _compare(path: Path, name: str | None, actual: FloatArray, expected: FloatArray) -> ParityResult:
    """One output; `name` is None where there is no other."""
    label = "output" if name is None else f"output '{name}'"
    if actual.shape != expected.shape:
        raise ParityError(f"{path}: {label} shape {actual.shape}, PyTorch gave {expected.shape}")
    # A NaN or an infinity, even on both sides, is the worst error there is, not one that compares false.
    finite = np.isfinite(actual) & np.isfinite(expected)
    error = np.abs(np.subtract(actual, expected, where=finite, out=np.full_like(expected, np.inf)))
    worst = np.unravel_index(int(error.argmax()), error.shape)
    # One number per image is no answer among several.
    agreement = float((actual.argmax(axis=1) == expected.argmax(axis=1)).mean()) if actual.ndim > 1 else 1.0
    scale = float(np.abs(expected).max(initial=1.0, where=finite))
    if error[worst] > TOLERANCE * scale or agreement < AGREEMENT:
        raise ParityError(
            f"{path}: differs from PyTorch; worst is image {worst[0]}, {label} {tuple(int(i) for i in worst[1:])}: "
            f"{float(actual[worst]):.6g} instead of {float(expected[worst]):.6g} "
            f"(greatest error {float(error[worst]):.3g}, same answer on {agreement:.1%} of {len(actual)} images)"
        )
    return ParityResult(len(actual), float(error[worst]), agreement)


def run_onnx(path: Path, images: FloatArray) -> FloatArray:
    """The first output of an ONNX file, as `run_onnx_outputs` gives it."""
    return next(iter(run_onnx_outputs(path, images).values()))


def run_onnx_outputs(path: Path, images: FloatArray, exact: bool = False) -> dict[str, FloatArray]:
    """Outputs of an ONNX file by name, for images (N, C, H, W), in batches of the file's own static batch size; `exact`
    as for `open_session`.

    Raises ModelFileError where the file does not load or the images do not fill whole batches.
    """
    return open_runner(path, exact)(images)


def open_runner(path: Path, exact: bool = False) -> Callable[[FloatArray], dict[str, FloatArray]]:
    """`run_onnx_outputs` of a file that is loaded once."""
    try:
        session = open_session(str(path), exact)
    except Exception as error:
        raise ModelFileError(f"{path}: ONNX Runtime cannot load it: {first_line(error)}") from error
    model_input = session.get_inputs()[0]
    names = [output.name for output in session.get_outputs()]
    batch = model_input.shape[0]

    def run(images: FloatArray) -> dict[str, FloatArray]:
        if not isinstance(batch, int) or not len(images) or len(images) % batch:
            raise ModelFileError(f"{path}: {len(images)} images do not fill batches of {batch}")
        starts = range(0, len(images), batch)
        try:
            outputs = [session.run(None, {model_input.name: images[start : start + batch]}) for start in starts]
            return {name: np.concatenate(parts) for name, parts in zip(names, zip(*outputs, strict=True), strict=True)}
        except Exception as error:
            raise ModelFileError(f"{path}: ONNX Runtime cannot run it: {first_line(error)}") from error

    return run
