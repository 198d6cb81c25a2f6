"""What an ONNX file computes, without what it has learned: two networks of one architecture have one digest."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

from edgesynth_exporters.onnx_file import inner_graphs, read_onnx_file

__all__ = ["graph_digest"]

WEIGHT_OPERATORS = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu", "Add", "Sub", "Mul", "Div"}
    | {"QuantizeLinear", "DequantizeLinear", "LayerNormalization", "InstanceNormalization", "GroupNormalization"}
)
"""What these multiply by, add or scale with costs the same whatever its values are."""


def graph_digest(path: Path) -> str:
    """SHA-256, hexadecimal, over operators, attributes, types, shapes and connections; not over names, nor over the
    values of weights. A constant that is no weight, such as the shape that a Reshape reads, counts with its values.

    Latency and energy depend on nothing else of the file, so measurements are looked up by it. Raises ModelFileError
    for a file that is missing or damaged.
    """
    model = read_onnx_file(path).model
    graph = model.graph
    uses = _uses(graph)
    _forget_weights(graph, uses)
    _rename(graph, {})
    plain = onnx.ModelProto(graph=graph, functions=model.functions)
    plain.opset_import.extend(sorted(model.opset_import, key=lambda entry: entry.domain))
    return hashlib.sha256(plain.SerializeToString(deterministic=True)).hexdigest()


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs within its nodes."""
    yield graph
    for node in graph.node:
        for _, inner in inner_graphs(node):
            yield from _graphs(inner)


def _uses(graph: onnx.GraphProto) -> dict[str, set[str]]:
    """Which operators read a tensor, by its name. What a graph hands out is read by nobody we know."""
    uses: dict[str, set[str]] = {}
    for each in _graphs(graph):
        for node in each.node:
            for name in node.input:
                uses.setdefault(name, set()).add(f"{node.domain}::{node.op_type}" if node.domain else node.op_type)
        for value in each.output:
            uses.setdefault(value.name, set()).add("")
    return uses


def _forget_weights(graph: onnx.GraphProto, uses: dict[str, set[str]]) -> None:
    """Take the elements out of every constant that only weighs; its type and dimensions stay."""

    def is_weight(name: str) -> bool:
        return name in uses and uses[name] <= WEIGHT_OPERATORS

    for each in _graphs(graph):
        for tensor in each.initializer:
            _clear(tensor, elements=is_weight(tensor.name))
        for sparse in each.sparse_initializer:
            _clear(sparse.values, elements=is_weight(sparse.values.name))
            _clear(sparse.indices, elements=False)
        for node in each.node:
            for attribute in node.attribute:
                weighs = node.op_type == "Constant" and is_weight(node.output[0] if node.output else "")
                for tensor in (attribute.t, *attribute.tensors) if attribute.HasField("t") else attribute.tensors:
                    _clear(tensor, elements=weighs)


def _clear(tensor: TensorProto, elements: bool) -> None:
    """Without marks and places, and with `elements` without those."""
    for field in ("doc_string", "external_data", "data_location", "metadata_props"):
        tensor.ClearField(field)
    if elements:
        for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Numbers for names, in the order in which the nodes come; no remarks. ONNX has no name twice, not even in the
    graphs within nodes."""

    def number(name: str) -> str:
        # An optional input that is left out has the empty name, and keeps it.
        return names.setdefault(name, str(len(names))) if name else ""

    for field in ("name", "doc_string", "value_info", "quantization_annotation", "metadata_props"):
        graph.ClearField(field)
    for value in (*graph.input, *graph.output):
        value.name = number(value.name)
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    for node in graph.node:
        for field in ("name", "doc_string", "metadata_props"):
            node.ClearField(field)
        node.input[:] = map(number, node.input)
        for _, inner in inner_graphs(node):
            _rename(inner, names)
        node.output[:] = map(number, node.output)
        ordered = sorted(node.attribute, key=lambda attribute: attribute.name)
        for attribute in ordered:
            attribute.ClearField("doc_string")
        copies = [onnx.AttributeProto.FromString(each.SerializeToString()) for each in ordered]
        node.ClearField("attribute")
        node.attribute.extend(copies)
    for tensor in graph.initializer:
        tensor.name = number(tensor.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = number(sparse.values.name)
    kept = sorted(graph.initializer, key=lambda tensor: int(tensor.name or -1))
    copies = [TensorProto.FromString(each.SerializeToString()) for each in kept]
    graph.ClearField("initializer")
    graph.initializer.extend(copies)
