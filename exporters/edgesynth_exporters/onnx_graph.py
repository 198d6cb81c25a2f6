"""Reading an ONNX file as a plain graph: operators, shapes, parameters, multiply-accumulates. Needs no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.onnx_shapes import Shape, load_with_shapes, operator_name, static_shapes

__all__ = ["MATRIX_OPERATORS", "Graph", "Node", "Shape", "node_macs", "parameter_count", "read_graph"]

MATRIX_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
PARAMETRIC_OPERATORS = MATRIX_OPERATORS | {"Add", "BatchNormalization", "Div", "Mul", "PRelu", "Sub"}


@dataclass(frozen=True)
class Node:
    """One operator. `op` carries its domain when that is not ONNX's own: "com.example::Swish"."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network in execution order. Every tensor that a node names has its shape in `shapes`.

    `constants` are the tensors known before the first inference: parameters and what is computed from them
    alone. `inputs` are the others that come from outside. `assumed` names the operators whose output shape
    nobody states and which was therefore taken from their first input.
    """

    name: str
    nodes: tuple[Node, ...]
    shapes: Mapping[str, Shape]
    constants: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    assumed: tuple[str, ...] = ()


def read_graph(path: Path, batch: int = 1) -> Graph:
    """The graph in `path`, a free batch dimension set to `batch`; weights are not looked at.

    Raises ModelFileError when the file is missing, is no ONNX, has free dimensions beyond the batch, or is fixed
    at another batch.
    """
    model, assumed = load_with_shapes(path, batch)
    graph = model.graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = static_shapes(model)
    nodes = tuple(_node(proto, index) for index, proto in enumerate(graph.node))
    for name in (name for node in nodes for name in (*node.inputs, *node.outputs)):
        if name not in shapes:
            raise ModelFileError(
                f"{path}: the shape of tensor '{name}' depends on the input's values; "
                "export the network with fixed sizes (only the batch may be free)"
            )
    return Graph(
        name=graph.name or path.stem,
        nodes=nodes,
        shapes=shapes,
        constants=_constants(nodes, weights),
        inputs=tuple(value.name for value in graph.input if value.name not in weights),
        outputs=tuple(value.name for value in graph.output),
        assumed=tuple(sorted(set(assumed))),
    )


def node_macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of convolutions and matrix products; 0 for every other operator. Biases are free."""
    if node.op not in MATRIX_OPERATORS:
        return 0
    left, right, out = (graph.shapes[name] for name in (*node.inputs[:2], node.outputs[0]))
    if node.op == "Conv":  # weight: C_out, C_in / groups, kernel…
        return prod(out) * prod(right[1:])
    if node.op == "ConvTranspose":  # weight: C_in, C_out / groups, kernel…; every input element meets all of it
        return prod(left) * prod(right[1:])
    depth = left[0] if node.op == "Gemm" and node.attributes.get("transA") else left[-1]
    return prod(out) * depth


def parameter_count(graph: Graph, nodes: Iterable[Node] | None = None) -> int:
    """Learned elements that `nodes` (default: all) read. Running means and variances are not learned; a constant
    of one element (the 6 of a hard swish) is none either."""
    used = {
        name
        for node in (graph.nodes if nodes is None else nodes)
        if node.op in PARAMETRIC_OPERATORS
        for name in (node.inputs[1:3] if node.op == "BatchNormalization" else node.inputs)
        if name in graph.constants
    }
    sizes = (prod(graph.shapes[name]) for name in used)
    return sum(size for size in sizes if size > 1)


def _node(proto: onnx.NodeProto, index: int) -> Node:
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.TENSOR:
            value = numpy_helper.to_array(value) if not value.external_data else None
        attributes[attribute.name] = value
    return Node(
        name=proto.name or f"{proto.op_type}_{index}",
        op=operator_name(proto),
        inputs=tuple(name for name in proto.input if name),
        outputs=tuple(name for name in proto.output if name),
        attributes=attributes,
    )


def _constants(nodes: Iterable[Node], weights: Iterable[str]) -> frozenset[str]:
    """Parameters and all that follows from them alone."""
    known = set(weights)
    for node in nodes:
        if all(name in known for name in node.inputs):
            known.update(node.outputs)
    return frozenset(known)
