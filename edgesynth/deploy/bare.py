"""A reference for an ONNX file that no `edgesynth export` made: what ONNX Runtime answers to noise on this machine."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edgesynth_exporters.errors import ModelFileError, first_line
from edgesynth_exporters.precision import round_to_fp16
from edgesynth_exporters.reference import REFERENCES, Reference, tolerance_elsewhere, write_reference
from edgesynth_exporters.runtime import open_session

from edgesynth.errors import EdgesynthError

__all__ = ["make_reference"]

SEED = 0
MOST_BYTES = 256 * 1024 * 1024


def make_reference(model: Path, precision: str, target: str, out: Path) -> dict[str, Any]:
    """Write the reference; {"inputs", "outputs", "batch"} of the network for its manifest.

    The tolerance of fp16 comes from the same network with everything rounded to fp16, run here. Raises EdgesynthError
    for a network that noise cannot be fed to, ModelFileError where ONNX Runtime does not run it.
    """
    if precision == "int8":
        raise EdgesynthError(
            f"{model}: int8 needs ranges of a calibration, and this file has none of edgesynth export beside it: "
            "export the network with --precision int8"
        )
    try:
        proto = onnx.load(model)
        session = open_session(str(model))
        batch = _batch(model, session.get_inputs())
        inputs = _noise(model, session.get_inputs(), batch)
        outputs = _answers(session, inputs, batch)
        lower = outputs if precision == "fp32" else _answers(open_session(round_to_fp16(proto)), inputs, batch)
    except EdgesynthError:
        raise
    except Exception as error:
        raise ModelFileError(f"{model}: ONNX Runtime does not run it here: {first_line(error)}") from error
    if not all(np.isfinite(values).all() for values in (*outputs.values(), *lower.values())):
        raise ModelFileError(f"{model}: it answers noise in {precision} with what is no finite number")
    tolerance = {
        name: tolerance_elsewhere(
            float(np.abs(values).max(initial=0)), float(np.abs(values - lower[name]).max(initial=0))
        )
        for name, values in outputs.items()
    }
    about = {
        "schema": "edgesynth.reference/1",
        "network": model.stem,
        "target": target,
        "precision": precision,
        "images": f"normal noise, seed {SEED}",
        "answers": "of ONNX Runtime in fp32",
        "onnx_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    }
    write_reference(out, Reference(inputs=inputs, outputs=outputs, tolerance=tolerance, about=about))
    return {
        "inputs": _described(session.get_inputs(), batch),
        "outputs": _described(session.get_outputs(), batch),
        "batch": batch,
    }


def _batch(model: Path, nodes: Any) -> int:
    """The size that the file fixes, 1 where it leaves it open."""
    sizes = {node.shape[0] if node.shape and isinstance(node.shape[0], int) else 1 for node in nodes}
    if len(sizes) != 1 or any(not isinstance(size, int) or size < 1 for node in nodes for size in node.shape[1:]):
        raise EdgesynthError(
            f"{model}: its inputs have no fixed sizes behind one batch dimension; export it with those"
        )
    return int(sizes.pop())


def _noise(model: Path, nodes: Any, batch: int) -> dict[str, Any]:
    """As many images as references have, fewer where they are large, a whole number of batches."""
    for node in nodes:
        if node.type != "tensor(float)":
            raise EdgesynthError(
                f"{model}: input '{node.name}' is {node.type}; inputs of float32 can be fed noise alone"
            )
    one = sum(4 * int(np.prod(node.shape[1:], dtype=np.int64)) for node in nodes)
    count = batch * max(1, min(REFERENCES, MOST_BYTES // max(one, 1)) // batch)
    random = np.random.default_rng(SEED)
    return {node.name: random.standard_normal((count, *node.shape[1:]), dtype=np.float32) for node in nodes}


def _answers(session: Any, inputs: dict[str, Any], batch: int) -> dict[str, Any]:
    names = [node.name for node in session.get_outputs()]
    count = len(next(iter(inputs.values())))
    parts = [
        session.run(names, {name: values[begin : begin + batch] for name, values in inputs.items()})
        for begin in range(0, count, batch)
    ]
    return {
        name: np.concatenate([part[index] for part in parts]).astype(np.float32) for index, name in enumerate(names)
    }


def _described(nodes: Any, batch: int) -> list[dict[str, Any]]:
    return [
        {
            "name": node.name,
            "dtype": {"tensor(float)": "float32"}.get(node.type, node.type),
            "shape": [
                batch if index == 0 and not isinstance(size, int) else size for index, size in enumerate(node.shape)
            ],
            "mean": None,
            "std": None,
            "classes": None,
        }
        for node in nodes
    ]
