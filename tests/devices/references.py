"""The reference of a small network, as an export would leave it."""

import hashlib

import numpy as np
from edgesynth_exporters.reference import Reference, write_reference

from tests.agent.references import IMAGES, answers

__all__ = ["IMAGES", "save_reference"]


def save_reference(model, out, *, error=0.0, digest=None, precision="fp32"):
    """What `save_conv` answers to some images, off by `error`; the path."""
    x, z = answers(model)
    about = {"onnx_sha256": digest or hashlib.sha256(model.read_bytes()).hexdigest(), "precision": precision}
    write_reference(out, Reference({"x": x}, {"z": z + np.float32(error)}, {"z": 1e-3}, about))
    return out
