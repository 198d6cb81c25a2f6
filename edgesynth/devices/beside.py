"""What `edgesynth export` put beside a model: the reference to compare with, and the calibration cache of int8."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from edgesynth.devices.jobs import EngineName, Precision
from edgesynth.errors import ModelFileError

__all__ = ["Beside", "beside"]


class Beside(NamedTuple):
    """The files to send along; `note` says why a reference that is there is not among them."""

    reference: Path | None
    calibration: Path | None
    note: str | None = None


def beside(model: Path, precision: Precision | None, engine: EngineName | None) -> Beside:
    """What belongs to a model that is to run in that precision, None for its own, on that engine.

    A reference is of one file and one precision: of another, nothing is to be compared.
    """
    cache = model.with_suffix(".calibration")
    calibration = cache if precision == "int8" and engine != "onnxruntime" and cache.is_file() else None
    reference = model.with_suffix(".reference.npz")
    if not reference.is_file():
        return Beside(None, calibration)
    why = _why_not(model, reference, precision)
    if why is None:
        return Beside(reference, calibration)
    return Beside(None, calibration, f"not compared with {reference.name}: {why}")


def _why_not(model: Path, reference: Path, precision: Precision | None) -> str | None:
    from edgesynth_exporters.reference import read_reference

    try:
        about = read_reference(reference).about
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
    except ModelFileError as error:
        return str(error)
    except OSError:  # measuring says so itself
        return "the model cannot be read"
    if about.get("onnx_sha256") != digest:
        return "it is of another file"
    if precision is not None and about.get("precision") != precision:
        return f"it is for {about.get('precision')}"
    return None
