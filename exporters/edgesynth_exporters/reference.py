"""Inputs and PyTorch's answers beside a model, so that a board repeats the comparison: MODEL.reference.npz.

A numpy archive without pickles, which numpy of any age reads: "inputs/NAME" and "outputs/NAME" for the same first
images, "tolerance/NAME" for each output, and "about", a JSON text.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesynth_exporters.errors import ModelFileError, first_line

__all__ = ["REFERENCES", "Reference", "digest_of", "read_reference", "tolerance_elsewhere", "write_reference"]

FloatArray = NDArray[np.float32]

REFERENCES = 16
"""Images that are kept."""
OTHER_KERNELS, MARGIN = 1e-3, 4.0
"""A GPU adds in another order, and from Ampere on its fp32 may be TF32 with 10 bits of mantissa: an error of 1e-3 of
the greatest output says nothing. At a lower precision it may be so many times the error that ONNX Runtime had."""


@dataclass(frozen=True)
class Reference:
    """What a model answered where it was made. `tolerance` is the greatest absolute error to be expected elsewhere, for
    each output. `about` has the SHA-256 of the model file ("onnx_sha256") and of each array ("sha256")."""

    inputs: Mapping[str, FloatArray]
    outputs: Mapping[str, FloatArray]
    tolerance: Mapping[str, float]
    about: Mapping[str, Any]


def tolerance_elsewhere(greatest: float, measured_error: float) -> float:
    """What to allow on a board: `greatest` magnitude of the output, `measured_error` in the same precision here."""
    return max(OTHER_KERNELS * max(1.0, greatest), MARGIN * measured_error)


def write_reference(path: Path, reference: Reference) -> None:
    """Write the archive; the hashes of the arrays are added to `about`. The same reference gives the same bytes."""
    arrays: dict[str, NDArray[Any]] = {f"inputs/{name}": values for name, values in reference.inputs.items()}
    arrays |= {f"outputs/{name}": values for name, values in reference.outputs.items()}
    digests = {key: digest_of(values) for key, values in arrays.items()}
    about = json.dumps({**reference.about, "sha256": digests}, sort_keys=True)
    tolerances = {f"tolerance/{name}": np.float64(value) for name, value in reference.tolerance.items()}
    np.savez(path, allow_pickle=False, about=np.array(about), **tolerances, **arrays)


def read_reference(path: Path) -> Reference:
    """The archive at `path`. Raises ModelFileError where it is none, is damaged, or is not what was written."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
        about = json.loads(str(content.pop("about")))
        digests = about["sha256"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{path} is no reference of an export: {first_line(error)}") from error
    parts: dict[str, dict[str, Any]] = {"inputs": {}, "outputs": {}, "tolerance": {}}
    for key, values in content.items():
        kind, _, name = key.partition("/")
        if kind not in parts or (kind != "tolerance" and digest_of(values) != digests.get(key)):
            raise ModelFileError(f"{path}: '{key}' is not what was written; export the network again")
        parts[kind][name] = float(values) if kind == "tolerance" else values
    return Reference(parts["inputs"], parts["outputs"], parts["tolerance"], about)


def digest_of(values: NDArray[Any]) -> str:
    """SHA-256 over type, shape and values."""
    state = hashlib.sha256(f"{values.dtype.str} {values.shape}\n".encode())
    state.update(np.ascontiguousarray(values).tobytes())
    return state.hexdigest()
