"""ONNX files for engines, in the three precisions, and with what a parser may refuse."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

__all__ = ["save_layers", "save_product", "save_quantized"]


def save_layers(path, operators=("Relu",), *, dtype=np.float32, names=True, batch=1):
    """A convolution "conv", then one node of each operator, named "/layer/<operator>"; one with a "::" in it is of
    that domain. Without `names` the nodes have none."""
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(dtype)
    kind = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}[dtype]
    nodes = [helper.make_node("Conv", ["x", "w"], ["t0"], name="conv" if names else None)]
    for index, operator in enumerate(operators):
        domain, _, op_type = operator.rpartition("::")
        name = f"/layer/{op_type}" if names else None
        nodes.append(helper.make_node(op_type, [f"t{index}"], [f"t{index + 1}"], name=name, domain=domain))
    inputs = [helper.make_tensor_value_info("x", kind, [batch, 3, 8, 8])]
    outputs = [helper.make_tensor_value_info(f"t{len(operators)}", kind, [batch, 8, 6, 6])]
    graph = helper.make_graph(nodes, "layers", inputs, outputs, [numpy_helper.from_array(weights, "w")])
    return _save(path, graph)


def save_quantized(path):
    """The convolution with QuantizeLinear and DequantizeLinear in front of its input and its weights."""
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    constants = {
        "w": weights,
        "s": np.float32(0.1),
        "z": np.int8(0),
        "sw": np.full(8, 0.02, np.float32),
        "zw": np.zeros(8, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("QuantizeLinear", ["w", "sw", "zw"], ["wq"], axis=0),
        helper.make_node("DequantizeLinear", ["wq", "sw", "zw"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 6, 6])]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return _save(path, helper.make_graph(nodes, "quantized", inputs, outputs, tensors))


def save_product(path):
    """One matrix product, "/head/Gemm"."""
    weights = np.random.default_rng(0).standard_normal((64, 10)).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="/head/Gemm")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])]
    return _save(path, helper.make_graph([node], "product", inputs, outputs, [numpy_helper.from_array(weights, "w")]))


def _save(path, graph):
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.example", 1)]
    path.write_bytes(helper.make_model(graph, ir_version=7, opset_imports=opsets).SerializeToString())
    return path
