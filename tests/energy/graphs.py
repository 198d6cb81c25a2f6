"""Small ONNX files for the tests of the energy model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, tuple[int, ...]] | None = None,
    shape: Sequence[int | str] = (1, 8, 16, 16),
    outputs: Sequence[str] = ("y",),
) -> Path:
    """A model of `nodes` from the input "x" of `shape`; weights are zeros, output shapes are left to inference."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.zeros(dims, np.float32), name) for name, dims in (weights or {}).items()],
    )
    domains = [helper.make_opsetid("", 13), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=8), path)
    return path


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    """An operator; `inputs` are names with spaces between, "com.example.Op" is one outside the standard."""
    domain, _, name = op.rpartition(".")
    return helper.make_node(name, inputs.split(), output.split(), domain=domain, **attributes)


def conv(x: str, y: str, weight: str = "w", kernel: int = 3, **attributes: object) -> onnx.NodeProto:
    return node("Conv", f"{x} {weight}", y, pads=[kernel // 2] * 4, **attributes)
