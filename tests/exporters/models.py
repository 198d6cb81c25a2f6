"""Small ONNX files for the tests of `check`, and targets to check them for."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from edgesynth_exporters.targets import Target, find_target
from onnx import TensorProto, helper

__all__ = ["FLOAT", "INT64", "node", "save", "target", "value", "weight"]

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node
value = helper.make_tensor_value_info


def target(tensorrt: str | None = "8.2.1", **other: object) -> Target:
    """A target like a TX2, with another runtime or other facts."""
    facts = {"name": "board", "tensorrt": tensorrt, "opset": 13 if tensorrt == "8.2.1" else 99, **other}
    return dataclasses.replace(find_target("tx2-sim"), **facts)


def weight(name: str, dims: list[int], fill: float = 0.5, dtype: type = np.float32) -> onnx.TensorProto:
    """An initializer, its elements in raw_data."""
    return onnx.numpy_helper.from_array(np.full(dims, fill, dtype), name)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto] | None = None,
    weights: list[onnx.TensorProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    opset: int = 13,
    **other: object,
) -> Path:
    """A model from (1, 8, 4, 4) "x" to "y", unless other inputs and outputs are given."""
    graph = helper.make_graph(
        nodes,
        "test",
        [value("x", FLOAT, [1, 8, 4, 4])] if inputs is None else inputs,
        [value("y", FLOAT, None)] if outputs is None else outputs,
        weights or [],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=8, **other), path)
    return path
