"""The reference of a small network, as an export would leave it."""

import hashlib

import numpy as np
import onnx
from edgesynth_exporters.reference import Reference, write_reference
from edgesynth_exporters.runtime import open_session

__all__ = ["IMAGES", "save_reference"]

IMAGES = 5


def save_reference(model, out, *, batch=1, error=0.0, digest=None, precision="fp32"):
    """What `save_conv` of that batch (1 where it is open) answers to some images, off by `error`; the path."""
    x = np.random.default_rng(0).standard_normal((IMAGES, 3, 16, 16)).astype(np.float32)
    session = open_session(onnx.load(model))
    z = np.concatenate([session.run(None, {"x": np.repeat(x[i : i + 1], batch, axis=0)})[0][:1] for i in range(IMAGES)])
    about = {"onnx_sha256": digest or hashlib.sha256(model.read_bytes()).hexdigest(), "precision": precision}
    write_reference(out, Reference({"x": x}, {"z": z + np.float32(error)}, {"z": 1e-3}, about))
    return out
