"""A traced network as the plain graph of operators that an ONNX file of it would hold, without writing one.

The names of its operators are those of the traced nodes, which surgery leaves as they are, so that a part of the
network can be followed from one genome to another.
"""

import operator
from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from edgesynth_exporters.onnx_graph import Graph, Node, Shape
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

__all__ = ["operators_of"]

MODULES: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], str], ...] = (
    (nn.modules.conv._ConvTransposeNd, "ConvTranspose"),
    (nn.modules.conv._ConvNd, "Conv"),
    (nn.Linear, "Gemm"),
    (nn.modules.batchnorm._BatchNorm, "BatchNormalization"),
    ((nn.Identity, nn.Dropout, nn.Dropout2d), "Identity"),
    (nn.Flatten, "Flatten"),
    (nn.AdaptiveAvgPool2d, "GlobalAveragePool"),
    (nn.AvgPool2d, "AveragePool"),
    ((nn.MaxPool2d, nn.AdaptiveMaxPool2d), "MaxPool"),
    (nn.Softmax, "Softmax"),
    ((nn.LayerNorm, nn.GroupNorm), "LayerNormalization"),
    (nn.Upsample, "Resize"),
    (nn.ReLU, "Relu"),
    ((nn.ReLU6, nn.Hardtanh), "Clip"),
    (nn.Sigmoid, "Sigmoid"),
    (nn.Tanh, "Tanh"),
    (nn.Hardsigmoid, "HardSigmoid"),
    (nn.Hardswish, "HardSwish"),
    (nn.LeakyReLU, "LeakyRelu"),
)
FUNCTIONS: dict[Any, str] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), "Add"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), "Mul"),
    **dict.fromkeys((operator.sub, torch.sub, "sub"), "Sub"),
    **dict.fromkeys((operator.truediv, torch.div, "div"), "Div"),
    **dict.fromkeys((torch.relu, nn.functional.relu, "relu", "relu_"), "Relu"),
    **dict.fromkeys((torch.sigmoid, nn.functional.sigmoid, "sigmoid"), "Sigmoid"),
    **dict.fromkeys((torch.flatten, "flatten", "view", "reshape", torch.reshape), "Flatten"),
    **dict.fromkeys((torch.cat, torch.concat), "Concat"),
    **dict.fromkeys((torch.mean, "mean"), "GlobalAveragePool"),
    **dict.fromkeys((nn.functional.adaptive_avg_pool2d,), "GlobalAveragePool"),
    **dict.fromkeys((nn.functional.avg_pool2d,), "AveragePool"),
    **dict.fromkeys((nn.functional.max_pool2d, torch.max_pool2d), "MaxPool"),
    **dict.fromkeys((nn.functional.dropout, "contiguous"), "Identity"),
    **dict.fromkeys((torch.softmax, nn.functional.softmax, "softmax"), "Softmax"),
    **dict.fromkeys((nn.functional.interpolate,), "Resize"),
    **dict.fromkeys((operator.getitem,), "Slice"),
}
SWISH = (nn.SiLU, nn.functional.silu)


def operators_of(module: fx.GraphModule, example: Tensor) -> Graph:
    """The graph of a traced network for inputs like `example` (N, C, H, W). What is not known here keeps its own
    name as an operator, and whoever counts kernels says so."""
    with torch.no_grad():
        ShapeProp(module).propagate(example)
    shapes: dict[str, Shape] = {}
    constants: set[str] = set()
    nodes: list[Node] = []
    outputs: list[str] = []
    inputs: list[str] = []
    for node in module.graph.nodes:
        shape = _shape(node)
        if node.op == "output":
            outputs = [each.name for each in node.all_input_nodes]
        elif shape is None:
            continue
        else:
            shapes[node.name] = shape
            if node.op == "placeholder":
                inputs.append(node.name)
            elif node.op == "get_attr":
                constants.add(node.name)
            else:
                weights = dict(_weights(module, node))
                shapes.update(weights)
                constants.update(weights)
                if not weights and not any(each.name in shapes for each in node.all_input_nodes):
                    constants.add(node.name)  # made of nothing that is computed
                    continue
                nodes.extend(_nodes(module, node, [*weights], shapes))
    return Graph("traced", tuple(nodes), shapes, frozenset(constants), tuple(inputs), tuple(outputs))


def _nodes(module: fx.GraphModule, node: fx.Node, weights: list[str], shapes: dict[str, Shape]) -> Iterator[Node]:
    read = [each.name for each in node.all_input_nodes if each.name in shapes]
    called = module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
    if called in SWISH or isinstance(called, nn.SiLU):
        inner = f"{node.name}.sigmoid"
        shapes[inner] = shapes[node.name]
        yield Node(inner, "Sigmoid", tuple(read), (inner,))
        yield Node(node.name, "Mul", (*read, inner), (node.name,))
        return
    attributes = {"group": called.groups} if isinstance(called, nn.modules.conv._ConvNd) else {}
    yield Node(node.name, _operator(called), (*read, *weights), (node.name,), attributes)


def _operator(called: Any) -> str:
    if isinstance(called, nn.Module):
        return next((name for kinds, name in MODULES if isinstance(called, kinds)), type(called).__name__)
    return FUNCTIONS.get(called, getattr(called, "__name__", str(called)))


def _weights(module: fx.GraphModule, node: fx.Node) -> Iterator[tuple[str, Shape]]:
    """Names and shapes of the parameters that a module reads, as ONNX has them: a Gemm's weight is (in, out)."""
    if node.op != "call_module":
        return
    called = module.get_submodule(str(node.target))
    for name, parameter in called.named_parameters():
        shape = tuple(parameter.shape)
        turned = isinstance(called, nn.Linear) and name == "weight"
        yield f"{node.target}.{name}", shape[::-1] if turned else shape
    if isinstance(called, nn.modules.batchnorm._BatchNorm):
        yield from ((f"{node.target}.{name}", tuple(b.shape)) for name, b in called.named_buffers() if b.dim())


def _shape(node: fx.Node) -> Shape | None:
    meta = node.meta.get("tensor_meta")
    shape = getattr(meta, "shape", None)
    return None if shape is None else tuple(shape) if prod(shape) else None
