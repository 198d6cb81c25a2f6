"""References as the exporter writes them; tests/agent_current holds its writer against the agent's reader."""

import io
import json

import numpy as np

__all__ = ["npz", "write_reference"]


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
