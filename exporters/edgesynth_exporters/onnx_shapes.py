"""Loading an ONNX file and working out the shape of every tensor in it, at a given batch. Needs no torch.

ONNX's own inference does not follow a shape that the network computes (`x.view(x.size(0), -1)` is exported as Shape,
Gather, Concat, Reshape). Here such values are folded into constants until nothing changes any more.
"""

from math import prod
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, inliner, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from edgesynth_exporters.errors import ModelFileError

__all__ = ["Shape", "load_with_shapes", "operator_name", "static_shapes"]

Shape = tuple[int, ...]
Values = dict[str, NDArray[np.generic]]

FOLDED_OPERATORS = frozenset(
    [
        "Add",
        "And",
        "Cast",
        "CastLike",
        "Ceil",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Div",
        "Equal",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Greater",
        "Identity",
        "Less",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Range",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Reshape",
        "ScatterND",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
"""What shapes are computed with. None has a subgraph: a loop in a hostile file must not be run to learn a shape."""
FOLDED_ELEMENTS = 1024  # shapes, axes and scales are smaller than that; weights need not be computed with


def load_with_shapes(path: Path, batch: int) -> tuple[onnx.ModelProto, list[str]]:
    """The model in `path` without its larger weights, and the operators whose output shape had to be assumed.

    Raises ModelFileError when the file is missing, is no ONNX, contradicts itself, has free dimensions beyond the
    batch, or is fixed at another batch. Shapes that depend on the values of the input stay unknown.
    """
    if batch < 1:
        raise ModelFileError(f"a batch of {batch} is none: use 1 or more")
    model = _load(path)
    _fix_batch(model, batch, path)
    assumed: list[str] = []
    while True:
        try:
            model = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except (shape_inference.InferenceError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ModelFileError(f"{path}: its shapes do not fit together: {reason}") from error
        if not _fold(model) and not _assume(model, assumed):
            return model, sorted(set(assumed))


def static_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """The shapes known so far, parameters included."""
    graph = model.graph
    values = {value.name: _static(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    parameters = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return {name: shape for name, shape in values.items() if shape is not None} | parameters


def operator_name(node: onnx.NodeProto) -> str:
    """The operator's type, with its domain in front where that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def _load(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ModelFileError(f"{path}: not an ONNX file ({error})") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not model.graph.node or not model.graph.output:
        raise ModelFileError(f"{path}: not an ONNX file, or one without any operator")
    if model.functions:
        model = inliner.inline_local_functions(model)
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > FOLDED_ELEMENTS:
            for content in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(content)
    return model


def _fix_batch(model: onnx.ModelProto, batch: int, path: Path) -> None:
    """Sets the free first dimension of every input, and forgets the shapes derived from it."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    for value in inputs:
        if not value.type.tensor_type.HasField("shape"):
            raise ModelFileError(f"{path}: input '{value.name}' has no shape; export it with fixed sizes")
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            size = dim.dim_value if dim.HasField("dim_value") else 0
            if size < 1 and index > 0:
                raise ModelFileError(
                    f"{path}: dimension {index} of input '{value.name}' is free ('{dim.dim_param or '?'}'); "
                    "export it with fixed sizes (only the batch may be free)"
                )
            if size < 1:
                dim.dim_value = batch
            elif index == 0 and value is inputs[0] and size != batch:
                raise ModelFileError(
                    f"{path}: fixed at batch {size}, not {batch}; ask for batch {size}, "
                    "or export it with a free batch dimension"
                )
    foreign = {name for node in model.graph.node if _is_foreign(node) for name in node.output}
    stated = [value for value in model.graph.value_info if value.name in foreign and _static(value) is not None]
    del model.graph.value_info[:]
    model.graph.value_info.extend(stated)
    for value in model.graph.output:
        if value.name not in foreign or _static(value) is None:
            value.type.tensor_type.ClearField("shape")


def _fold(model: onnx.ModelProto) -> bool:
    """Turns every small value that is known by now into a constant, in place; whether there was any."""
    graph = model.graph
    shapes = static_shapes(model)
    small = [
        tensor for tensor in graph.initializer if prod(tensor.dims) <= FOLDED_ELEMENTS and not tensor.external_data
    ]
    values: Values = {tensor.name: numpy_helper.to_array(tensor) for tensor in small}
    kept = []
    for node in graph.node:
        found = _values_of(node, values, shapes, model)
        if found is None:
            kept.append(node)
            continue
        values.update(found)
        graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in found.items())
    folded = len(kept) < len(graph.node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)
    return folded


def _values_of(node: onnx.NodeProto, values: Values, shapes: dict[str, Shape], model: onnx.ModelProto) -> Values | None:
    """What `node` computes, where that is small and follows from `values` and `shapes`; else None."""
    if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
        shape = shapes[node.input[0]]
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        value = prod(shape) if node.op_type == "Size" else shape[bounds.get("start", 0) : bounds.get("end")]
        return {node.output[0]: np.array(value, np.int64)}
    if _is_foreign(node) or node.op_type not in FOLDED_OPERATORS or not all(not n or n in values for n in node.input):
        return None
    if any(prod(shapes.get(name, (FOLDED_ELEMENTS + 1,))) > FOLDED_ELEMENTS for name in node.output if name):
        return None
    inputs = {name: values[name] for name in node.input if name}
    graph = helper.make_graph(
        [node],
        "fold",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    try:
        found = ReferenceEvaluator(helper.make_model(graph, opset_imports=model.opset_import)).run(None, inputs)
    except Exception:  # what the evaluator cannot do stays in the graph
        return None
    return dict(zip((name for name in node.output if name), found, strict=True))


def _assume(model: onnx.ModelProto, assumed: list[str]) -> bool:
    """Gives the outputs of the first operator that has no rule the shape of its first input; whether there was one."""
    graph = model.graph
    shapes = static_shapes(model)
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    for node in graph.node:
        unknown = [name for name in node.output if name and name not in shapes]
        if not (_is_foreign(node) and unknown and node.input and node.input[0] in shapes and node.input[0] in values):
            continue
        assumed.append(operator_name(node))
        for name in unknown:
            target = values[name] if name in values else graph.value_info.add(name=name)
            target.type.CopyFrom(values[node.input[0]].type)
        return True
    return False


def _is_foreign(node: onnx.NodeProto) -> bool:
    """An operator that the ONNX standard does not know, so that no rule gives the shape of its output."""
    return not onnx.defs.has(node.op_type, node.domain)


def _static(value: onnx.ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)
