"""A model as the rules look at it: nodes in order, each within the scope that knows types, shapes and constants."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, numpy_helper

from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.onnx_file import has_elements, inner_graphs
from edgesynth_exporters.onnx_shapes import operator_name

__all__ = ["NodeView", "Scope", "Value", "open_scope", "walk"]

# Their outputs differ from run to run.
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)

NUMBERS = {
    "value_int": AttributeProto.INT,
    "value_ints": AttributeProto.INTS,
    "value_float": AttributeProto.FLOAT,
    "value_floats": AttributeProto.FLOATS,
}
"""Attributes of Constant that are no tensors, and their types."""


@dataclass(frozen=True)
class Value:
    """What is known of a tensor. A free dimension is None; so is `shape` where not even the rank is known.

    `type` is an element type of ONNX, None where it is unknown or the value is no tensor.
    """

    type: int | None = None
    shape: tuple[int | None, ...] | None = None


@dataclass
class Scope:
    """One graph. What a name means is looked for here and then in the graphs around it.

    `weights` are initializers and constants, `tensors` what those of them are in the file that are tensors there,
    `folds` all that follows from them alone, `arrays` the elements of those that are small. `place` are the places of
    the nodes that hold the graph, and of the graph within them: names may be the same. `used` are the names that some
    node or the graph's outputs read, inner graphs included.
    """

    graph: onnx.GraphProto
    path: str = ""
    outer: "Scope | None" = None
    values: dict[str, Value] = field(default_factory=dict)
    place: tuple[int, ...] = ()
    weights: set[str] = field(default_factory=set)
    tensors: dict[str, TensorProto] = field(default_factory=dict)
    folds: set[str] = field(default_factory=set)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    producers: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    order: list[int] = field(default_factory=list)

    def value(self, name: str) -> Value:
        """Type and shape of a tensor, unknown where nobody states them."""
        return self.values[name] if name in self.values else self.outer.value(name) if self.outer else Value()

    def is_weight(self, name: str) -> bool:
        return name in self.weights or (
            self.outer is not None and name not in self.values and self.outer.is_weight(name)
        )

    def is_folded(self, name: str) -> bool:
        return name in self.folds or (self.outer is not None and name not in self.values and self.outer.is_folded(name))

    def array(self, name: str) -> NDArray[Any] | None:
        """The elements of a small constant, else None."""
        return self.arrays.get(name, self.outer.array(name) if self.outer and name not in self.values else None)

    def tensor(self, name: str) -> TensorProto | None:
        """The constant in the file, without its elements where it is large."""
        return self.tensors.get(name, self.outer.tensor(name) if self.outer and name not in self.values else None)

    def producer(self, name: str) -> onnx.NodeProto | None:
        index = self.producers.get(name)
        if index is not None:
            found: onnx.NodeProto = self.graph.node[index]
            return found
        return self.outer.producer(name) if self.outer else None


@dataclass(frozen=True)
class NodeView:
    """One node in its scope. `name` is the node's own, or made of operator and index where it has none."""

    proto: onnx.NodeProto
    index: int
    scope: Scope

    @cached_property
    def name(self) -> str:
        return f"{self.scope.path}{self.proto.name or f'{self.proto.op_type}_{self.index}'}"

    @property
    def place(self) -> tuple[int, ...]:
        """Where the node is in the file, whatever it is called."""
        return (*self.scope.place, self.index)

    @cached_property
    def operator(self) -> str:
        return operator_name(self.proto)

    def input(self, index: int) -> str:
        """The name of an input, "" where it is left out."""
        return self.proto.input[index] if index < len(self.proto.input) else ""

    def attribute(self, name: str) -> AttributeProto | None:
        return next((attribute for attribute in self.proto.attribute if attribute.name == name), None)


def open_scope(
    graph: onnx.GraphProto, path: Path, outer: Scope | None = None, prefix: str = "", place: tuple[int, ...] = ()
) -> Scope:
    """The scope of `graph`, its nodes put into the order of execution.

    Raises ModelFileError that names `path` where a tensor is made twice or by nobody, or the graph runs in a circle.
    """
    scope = Scope(graph, prefix, outer, place=place)
    for value in (*graph.value_info, *graph.output, *graph.input):
        scope.values[value.name] = _value(value)
    for tensor in graph.initializer:
        if tensor.name in scope.weights:
            raise ModelFileError(f"{path}: there are two initializers '{tensor.name}'; write it again with one of them")
        scope.values[tensor.name] = Value(tensor.data_type, tuple(tensor.dims))
        _add_constant(scope, tensor.name, tensor)
    for sparse in graph.sparse_initializer:
        scope.values[sparse.values.name] = Value(sparse.values.data_type, tuple(sparse.dims))
        scope.weights.add(sparse.values.name)
    given = {value.name for value in graph.input} | scope.weights
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in scope.producers or name in given:
                raise ModelFileError(f"{path}: tensor '{name}' is made twice, the second time by {_label(node, index)}")
            scope.producers[name] = index
            scope.values.setdefault(name, Value())
    scope.order = _sorted(scope, given, path)
    scope.used.update(value.name for value in graph.output)
    for value in graph.output:
        if not _known(scope, value.name, given):
            raise ModelFileError(f"{path}: output '{value.name}' of the graph is made by no node")
    scope.folds |= scope.weights
    for index in scope.order:
        _find_constants(scope, graph.node[index])
    return scope


def walk(scope: Scope, path: Path) -> Iterator[NodeView]:
    """Every node in the order of execution, those of inner graphs right after the node that holds them."""
    stack = [iter([NodeView(scope.graph.node[index], index, scope) for index in scope.order])]
    while stack:
        view = next(stack[-1], None)
        if view is None:
            stack.pop()
            continue
        yield view
        for number, (name, graph) in enumerate(inner_graphs(view.proto)):
            inner = open_scope(graph, path, view.scope, f"{view.name}/{name}/", (*view.place, number))
            stack.append(iter([NodeView(graph.node[index], index, inner) for index in inner.order]))


def _value(info: onnx.ValueInfoProto) -> Value:
    if not info.type.HasField("tensor_type"):
        return Value()
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return Value(tensor.elem_type or None)
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in tensor.shape.dim
    )
    return Value(tensor.elem_type or None, shape)


def _add_constant(scope: Scope, name: str, tensor: TensorProto) -> None:
    scope.weights.add(name)
    scope.tensors[name] = tensor
    if (
        tensor.data_type != TensorProto.STRING
        and (0 in tensor.dims or has_elements(tensor))
        and not tensor.external_data
    ):
        scope.arrays[name] = numpy_helper.to_array(tensor)


def _find_constants(scope: Scope, node: onnx.NodeProto) -> None:
    """Notes whether the outputs of `node` are constants, or follow from constants alone."""
    outputs = [name for name in node.output if name]
    if node.op_type == "Constant" and outputs and operator_name(node) == "Constant":
        scope.weights.add(outputs[0])
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.HasField("t"):
                _add_constant(scope, outputs[0], attribute.t)
            elif NUMBERS.get(attribute.name) == attribute.type and not attribute.ref_attr_name:
                scope.arrays[outputs[0]] = np.asarray(onnx.helper.get_attribute_value(attribute))
    changing = node.op_type in RANDOM or "::" in operator_name(node) or any(inner_graphs(node))
    if not changing and all(not name or scope.is_folded(name) for name in node.input):
        scope.folds.update(outputs)


def _sorted(scope: Scope, given: set[str], path: Path) -> list[int]:
    """Indices of the nodes so that each comes after those it reads from; the file's own order where that will do."""
    nodes = scope.graph.node
    waiting: list[set[int]] = []
    readers: list[list[int]] = [[] for _ in nodes]
    for index, node in enumerate(nodes):
        names = {name for name in node.input if name} | set(_captured(node))
        scope.used |= names
        for name in node.input:
            if name and not _known(scope, name, given):
                raise ModelFileError(f"{path}: {_label(node, index)} reads '{name}', which no node makes")
        needs = {scope.producers[name] for name in names if name in scope.producers}
        waiting.append(needs)
        for need in needs:
            readers[need].append(index)
    ready = [index for index, needs in enumerate(waiting) if not needs]
    if all(max(needs, default=-1) < index for index, needs in enumerate(waiting)):
        return list(range(len(nodes)))
    order = []
    left = [len(needs) for needs in waiting]
    while ready:
        index = ready.pop()
        order.append(index)
        for reader in readers[index]:
            left[reader] -= 1
            if left[reader] == 0:
                ready.append(reader)
    if len(order) < len(nodes):
        raise ModelFileError(f"{path}: the graph runs in a circle: {_circle(scope.graph, waiting, left)}")
    return order


def _circle(graph: onnx.GraphProto, waiting: list[set[int]], left: list[int]) -> str:
    """The nodes of one circle, at most five of them by name."""
    index = next(index for index, count in enumerate(left) if count)
    seen: dict[int, int] = {}
    trail: list[int] = []
    while index not in seen:
        seen[index] = len(trail)
        trail.append(index)
        index = next(need for need in sorted(waiting[index]) if left[need])
    circle = [_label(graph.node[index], index) for index in trail[seen[index] :]]
    more = f" and {len(circle) - 5} more" if len(circle) > 5 else ""
    return f"{' needs '.join([*circle[:5], circle[0]])}{more}" if len(circle) > 1 else f"{circle[0]} needs itself"


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the graphs within `node` read from outside, and some that they make themselves."""
    graphs = [graph for _, graph in inner_graphs(node)]
    while graphs:
        graph = graphs.pop()
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        own |= {name for inner in graph.node for name in inner.output}
        for inner in graph.node:
            yield from (name for name in inner.input if name and name not in own)
            graphs.extend(deeper for _, deeper in inner_graphs(inner))
        yield from (value.name for value in graph.output if value.name not in own)


def _known(scope: Scope, name: str, given: set[str]) -> bool:
    if name in given or name in scope.producers:
        return True
    outer = scope.outer
    while outer is not None:
        if name in outer.values:
            return True
        outer = outer.outer
    return False


def _label(node: onnx.NodeProto, index: int) -> str:
    return f"node '{node.name or f'{node.op_type}_{index}'}'"
