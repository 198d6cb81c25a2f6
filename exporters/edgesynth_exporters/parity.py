"""Does the exported file compute what the PyTorch network computes?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesynth_exporters.errors import ModelFileError, ParityError
from edgesynth_exporters.runtime import onnx_runtime

__all__ = ["ParityResult", "check_parity", "run_onnx"]

FloatArray = NDArray[np.float32]

TOLERANCE = 1e-3
"""Greatest error, relative to the greatest output (or absolute, where outputs are below 1): fp32 against fp32,
so only the order of additions differs."""

AGREEMENT = 0.99
"""Least share of images with the same greatest output: near ties may fall either way."""


@dataclass(frozen=True)
class ParityResult:
    """`max_abs_error` in units of the output; `argmax_agreement` is a share of the images."""

    images: int
    max_abs_error: float
    argmax_agreement: float


def check_parity(path: Path, images: FloatArray, expected: FloatArray) -> ParityResult:
    """Run the file on real `images` (N, C, H, W) by ONNX Runtime and compare with `expected` (N, classes).

    Raises ParityError that names the worst output, ModelFileError where the file does not load.
    """
    actual = run_onnx(path, images)
    if actual.shape != expected.shape:
        raise ParityError(f"{path}: output shape {actual.shape}, PyTorch gave {expected.shape}")
    # A NaN or an infinity, even on both sides, is the worst error there is, not one that compares false.
    finite = np.isfinite(actual) & np.isfinite(expected)
    error = np.abs(np.subtract(actual, expected, where=finite, out=np.full_like(expected, np.inf)))
    worst = np.unravel_index(int(error.argmax()), error.shape)
    agreement = float((actual.argmax(axis=1) == expected.argmax(axis=1)).mean())
    scale = float(np.abs(expected).max(initial=1.0, where=finite))
    if error[worst] > TOLERANCE * scale or agreement < AGREEMENT:
        raise ParityError(
            f"{path}: differs from PyTorch; worst is image {worst[0]}, output {tuple(int(i) for i in worst[1:])}: "
            f"{float(actual[worst]):.6g} instead of {float(expected[worst]):.6g} "
            f"(greatest error {float(error[worst]):.3g}, same answer on {agreement:.1%} of {len(images)} images)"
        )
    return ParityResult(len(images), float(error[worst]), agreement)


def run_onnx(path: Path, images: FloatArray) -> FloatArray:
    """Outputs of an ONNX file for images (N, C, H, W), in batches of the file's own static batch size.

    Raises ModelFileError where the file does not load or the images do not fill whole batches.
    """
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelFileError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from error
    model_input = session.get_inputs()[0]
    batch = model_input.shape[0]
    if not isinstance(batch, int) or not len(images) or len(images) % batch:
        raise ModelFileError(f"{path}: {len(images)} images do not fill batches of {batch}")
    try:
        outputs = [
            session.run(None, {model_input.name: images[start : start + batch]})[0]
            for start in range(0, len(images), batch)
        ]
    except Exception as error:
        raise ModelFileError(f"{path}: ONNX Runtime cannot run it: {str(error).splitlines()[0]}") from error
    return np.concatenate(outputs)
