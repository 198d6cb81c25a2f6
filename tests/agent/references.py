"""References and calibration caches as an export writes them; tests/agent_current holds its writers against the readers
of the agent."""

import hashlib
import io
import json
import struct

import numpy as np
import onnxruntime

__all__ = ["IMAGES", "answers", "calibration_cache", "npz", "save_reference", "write_reference"]

IMAGES = 5


def npz(**arrays):
    """The bytes of a numpy archive."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def write_reference(path, model, inputs, outputs, tolerance):
    """The reference of a model (SHA-256): arrays, and the tolerance of each output, by name. The path as text."""
    arrays = {"about": np.array(json.dumps({"onnx_sha256": model}))}
    for kind, values in (("inputs", inputs), ("outputs", outputs), ("tolerance", tolerance)):
        arrays.update({f"{kind}/{name}": np.asarray(value) for name, value in values.items()})
    path.write_bytes(npz(**arrays))
    return str(path)


def answers(model, batch=1):
    """Some images, and what `save_conv` of that batch (1 where it is open) answers to them."""
    x = np.random.default_rng(0).standard_normal((IMAGES, 3, 16, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    z = np.concatenate([session.run(None, {"x": np.repeat(x[i : i + 1], batch, axis=0)})[0][:1] for i in range(IMAGES)])
    return x, z


def save_reference(model, out, *, batch=1, error=0.0, digest=None):
    """A reference of `save_conv` with its `answers`, off by `error`, as if of the model `digest`; the path."""
    x, z = answers(model, batch)
    digest = digest or hashlib.sha256(model.read_bytes()).hexdigest()
    write_reference(out, digest, {"x": x}, {"z": z + np.float32(error)}, {"z": 1e-3})
    return out


def calibration_cache(amax):
    """The bytes of the cache that TensorRT 8.2.1 reads: for each tensor by name its scale, for its greatest value."""
    lines = [f"{name}: {struct.pack('>f', value / 127).hex()}" for name, value in amax.items()]
    return "\n".join(["TRT-8201-EntropyCalibration2", *lines, ""]).encode()
