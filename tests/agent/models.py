"""Small ONNX files, of a version that ONNX Runtime 1.10 reads."""

from pathlib import Path
from typing import List, Union

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["save_conv", "save_identity"]

_IR_VERSION = 7
_OPSET = 13


def save_conv(path: Path, *, batch: Union[int, str] = "n", size: Union[int, str] = 16, seed: int = 0) -> Path:
    """One 3x3 convolution and a ReLU; `seed` makes another file of the same network."""
    weights = np.random.default_rng(seed).standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, 8, size, size])]
    return _save(path, helper.make_graph(nodes, "conv", inputs, outputs, [numpy_helper.from_array(weights, "w")]))


def save_identity(path: Path, dtype: int, shape: List[Union[int, str]]) -> Path:
    """The input, unchanged."""
    inputs = [helper.make_tensor_value_info("x", dtype, shape)]
    outputs = [helper.make_tensor_value_info("y", dtype, shape)]
    return _save(path, helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", inputs, outputs))


def _save(path: Path, graph: onnx.GraphProto) -> Path:
    model = helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=[helper.make_opsetid("", _OPSET)])
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
