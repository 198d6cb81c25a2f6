"""Whether the shapes in a model fit together: ONNX's own inference, and what that leaves to the runtimes."""

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import NamedTuple

import onnx
from onnx import shape_inference

from edgesynth_exporters.onnx_file import inner_graphs
from edgesynth_exporters.onnx_scopes import NodeView

__all__ = ["Misfit", "infer_shapes", "shape_clash"]

Place = tuple[int, ...]
Shape = tuple[int | None, ...]

ERROR = re.compile(r"\(op_type:[^,()]*(?:, node name: ([^()]*))?\): ")
UNKNOWN = ("expected to have type but instead is null", "Data size mismatch")
"""Types that nobody states, and elements that were left out here: not to be told is not to be wrong."""
STATED = "Inferred shape and existing shape differ"


class Misfit(NamedTuple):
    """Why a node's shapes do not fit; `stated`: those that the file states beside the node, and nothing reads."""

    reason: str
    stated: bool


def infer_shapes(model: onnx.ModelProto, order: list[int]) -> tuple[onnx.ModelProto, Mapping[Place, Misfit]]:
    """The model with the types and shapes that ONNX can work out, and the nodes where they do not fit, by their place.

    `order` is that of execution, for the nodes of the graph. A model that ONNX cannot work with stays as it is.
    """
    ordered = model if order == sorted(order) else _with_nodes(model, order)
    misfits: Mapping[Place, Misfit] = {}
    try:
        try:
            inferred = shape_inference.infer_shapes(ordered, strict_mode=True, data_prop=True)
        except Exception:  # InferenceError, and what operators make it raise
            misfits = _misfits(model, order)
            inferred = shape_inference.infer_shapes(ordered, data_prop=True)
    except Exception:  # what is unknown then stays unknown
        return model, misfits
    if ordered is not model:
        inferred = _with_nodes(inferred, sorted(range(len(order)), key=order.__getitem__))  # as they are in the file
    return inferred, misfits


def _misfits(model: onnx.ModelProto, order: list[int]) -> dict[Place, Misfit]:
    """What strict inference says, by the places of the nodes, which get names that tell them apart."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    places: list[Place] = []
    _mark(copy, copy.graph, (), places)
    known = {entry.domain for entry in copy.opset_import}
    copy.opset_import.extend(onnx.helper.make_opsetid(domain, 1) for domain in _domains(copy.graph) - known)
    try:
        shape_inference.infer_shapes(_with_nodes(copy, order), strict_mode=True, data_prop=True)
    except Exception as error:
        text = str(error)
    else:
        return {}
    found: dict[Place, Misfit] = {}
    errors = list(ERROR.finditer(text))
    for start, following in zip(errors, [*errors[1:], None], strict=True):
        reason = re.sub(r"\[\w+\] *", "", text[start.end() : following.start() if following else None]).strip()
        # Without a name it is a node of ONNX's own, within a function of the standard.
        if start[1] and reason != "Inference error(s):" and not any(part in reason for part in UNKNOWN):
            found.setdefault(places[int(start[1])], Misfit(reason.splitlines()[0], STATED in reason))
    return found


def _mark(model: onnx.ModelProto, graph: onnx.GraphProto, place: Place, places: list[Place]) -> None:
    for index, node in enumerate(graph.node):
        node.name = str(len(places))
        places.append((*place, index))
        for number, (_, inner) in enumerate(inner_graphs(node)):
            _mark(model, inner, (*place, index, number), places)


def _domains(graph: onnx.GraphProto) -> set[str]:
    graphs, found = [graph], set()
    for each in graphs:  # the list grows while it is read
        for node in each.node:
            found.add(node.domain)
            graphs.extend(inner for _, inner in inner_graphs(node))
    return found - {"", "ai.onnx"}


def _with_nodes(model: onnx.ModelProto, order: list[int]) -> onnx.ModelProto:
    """A copy of the model with its nodes in another order."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    copy.graph.node.extend(model.graph.node[index] for index in order)
    return copy


def shape_clash(view: NodeView) -> str | None:
    """Why the shapes of a node that ONNX's inference lets pass cannot be computed with, None where they can."""
    if view.operator in ("Conv", "ConvTranspose"):
        return _convolution(view)
    if view.operator == "Gemm":
        return _gemm(view)
    return _reshape(view) if view.operator == "Reshape" else _parameters(view)


def _convolution(view: NodeView) -> str | None:
    data, weights = (view.scope.value(view.input(index)).shape for index in (0, 1))
    if data is None or weights is None or len(data) < 3 or len(weights) < 3:
        return None
    if len(data) != len(weights):
        return f"the input has {len(data)} dimensions and the weights have {len(weights)}"
    attribute = view.attribute("group")
    groups = 1 if attribute is None else attribute.i
    if groups < 1:
        return f"group is {groups}"
    transposed = view.operator == "ConvTranspose"
    taken = weights[0] if transposed or weights[1] is None else weights[1] * groups
    if data[1] is not None and taken is not None and data[1] != taken:
        return f"the input has {data[1]} channels and the weights are for {taken}"
    if weights[0] is not None and weights[0] % groups:
        return f"{weights[0]} channels do not go into {groups} groups"
    return None


def _gemm(view: NodeView) -> str | None:
    shapes = [view.scope.value(view.input(index)).shape for index in (0, 1)]
    inner: list[int | None] = []
    for shape, name, axis in zip(shapes, ("transA", "transB"), (1, 0), strict=True):
        if shape is None or len(shape) != 2:
            return None
        attribute = view.attribute(name)
        inner.append(shape[1 - axis if attribute is not None and attribute.i else axis])
    if None in inner or inner[0] == inner[1]:
        return None
    return f"it multiplies rows of {inner[0]} elements by columns of {inner[1]}"


def _reshape(view: NodeView) -> str | None:
    shape, wanted = view.scope.value(view.input(0)).shape, view.scope.array(view.input(1))
    if shape is None or wanted is None or wanted.ndim != 1 or wanted.dtype.kind != "i":
        return None
    attribute = view.attribute("allowzero")
    keeps = attribute is None or not attribute.i
    target = [shape[i] if size == 0 and keeps and i < len(shape) else int(size) for i, size in enumerate(wanted)]
    if None in shape or None in target:
        return None
    elements = prod(_known(shape))
    fixed = prod(size for size in _known(target) if size != -1)
    if elements == fixed or (-1 in target and fixed and elements % fixed == 0):
        return None
    return f"{elements:,} elements do not make the shape {' x '.join('?' if s == -1 else str(s) for s in target)}"


def _known(sizes: tuple[int | None, ...] | list[int | None]) -> Iterator[int]:
    return (size for size in sizes if size is not None)


# Operators with a parameter for each channel, and the inputs that hold them.
PARAMETERS = {"BatchNormalization": (1, 2, 3, 4), "InstanceNormalization": (1, 2)}


def _parameters(view: NodeView) -> str | None:
    data = view.scope.value(view.input(0)).shape
    if data is None or len(data) < 2 or data[1] is None:
        return None
    for index in PARAMETERS.get(view.operator, ()):
        shape = view.scope.value(view.input(index)).shape
        if shape is not None and None not in shape and shape != (data[1],):
            return (
                f"the input has {data[1]} channels and '{view.input(index)}' has {' x '.join(map(str, shape))} elements"
            )
    return None
