"""What the rules say about a file as a whole: opset, precision, inputs, where its weights are."""

from collections.abc import Iterator
from math import prod

import onnx
from onnx import TensorProto

from edgesynth_exporters.element_types import type_name
from edgesynth_exporters.findings import Finding
from edgesynth_exporters.onnx_file import OnnxFile, inner_graphs, tensors_of
from edgesynth_exporters.onnx_scopes import Scope
from edgesynth_exporters.rules import Table, refusal
from edgesynth_exporters.targets import Precision, Target

__all__ = ["file_findings", "opset_of", "precision_findings"]

AGENT = "jetson/edgesynth_agent/onnx_file.py of this project"
BUILDER = "jetson/edgesynth_agent/engines/tensorrt_builder.py of this project"
FIXED = "export with fixed sizes (torch.onnx.export without dynamic_axes or dynamic_shapes)"
FUNCTIONS = "https://github.com/onnx/onnx-tensorrt/blob/0137504e2b25fe5253bd85d26b073378fb67805b/docs/Changelog.md"
NESTED = "https://github.com/onnx/onnx-tensorrt (ModelImporter.cpp, MAX_NESTED_SUBGRAPHS)"
FORMAT = "https://github.com/onnx/onnx/blob/v1.17.0/docs/IR.md"


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of ONNX's own operators; 1 where the file states none, as its first versions did."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def file_findings(file: OnnxFile, scope: Scope, target: Target, table: Table, exact: bool) -> Iterator[Finding]:
    """All that depends neither on single nodes nor on precision. `exact`: the table is that of the target's version."""
    if not exact:
        yield Finding(
            "warning",
            "table",
            f"there is no table for TensorRT {target.tensorrt}; this is what {table.title} takes",
            "trust the board: build the engine there",
            table.source,
        )
    yield from _opset(opset_of(file.model), target, table)
    if file.external:
        names = ", ".join(f"'{name}'" for name in file.external[:3])
        count = (
            "1 tensor is in another file" if len(file.external) == 1 else f"{len(file.external)} tensors are in others"
        )
        yield Finding(
            "error",
            "external-data",
            f"{count} ({names}{', …' if len(file.external) > 3 else ''}); the agent takes self-contained files only",
            "save the network with its weights inside: onnx.save of what onnx.load read",
            AGENT,
        )
    if scope.order != sorted(scope.order):
        yield Finding(
            "warning",
            "node-order",
            "nodes read from nodes that come later in the file, which ONNX forbids",
            "write it again by a tool that sorts (onnxslim)",
            FORMAT,
        )
    if file.model.graph.sparse_initializer and not table.sparse_weights:
        yield Finding("error", "sparse", "it has sparse weights", "store them as dense tensors", table.source)
    if file.model.functions and not table.local_functions:
        yield Finding(
            "error",
            "local-functions",
            f"it has functions of its own ({file.model.functions[0].name} …), which {table.title} does not know",
            "put them in place: onnx.inliner.inline_local_functions",
            FUNCTIONS,
        )
    nested = _nested(file.model.graph)
    if table.most_nested and nested > table.most_nested:
        yield Finding(
            "error",
            "nested",
            f"{nested} graphs are nested within each other; {table.title} takes {table.most_nested} at most",
            "decide while exporting instead (torch.jit.trace)",
            NESTED,
        )
    yield from _inputs(scope, table)
    if target.tensorrt is not None:
        yield from _integers(scope, table)


def _opset(opset: int, target: Target, table: Table) -> Iterator[Finding]:
    least, greatest = table.opset[0], min(target.opset, table.opset[1] or target.opset)
    if opset > greatest:
        yield Finding(
            "error",
            "opset",
            f"opset {opset}; {target.name} takes {greatest} at most",
            f"export it at opset {greatest}",
            table.source,
        )
    elif opset < 1:
        yield Finding("error", "opset", f"opset {opset} does not exist", "export it again", FORMAT)
    elif opset < least:
        yield Finding(
            "warning",
            "opset",
            f"opset {opset}; {table.title} promises {least} and later",
            f"export it at opset {least} or later",
            table.source,
        )


def _nested(graph: onnx.GraphProto) -> int:
    """How many graphs are within each other at most, the outermost not counted."""
    deepest, waiting = 0, [(graph, 0)]
    while waiting:
        each, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting.extend((inner, depth + 1) for node in each.node for _, inner in inner_graphs(node))
    return deepest


def _inputs(scope: Scope, table: Table) -> Iterator[Finding]:
    """Inputs of the graph whose type or shape ONNX forbids, or TensorRT does not take."""
    for info in scope.graph.input:
        if info.name in scope.weights:
            continue
        if not info.type.HasField("tensor_type"):
            if table.types:
                yield _no(info.name, "is no tensor", "use tensors in place of sequences, maps and optionals", table)
            continue
        value, name = scope.value(info.name), type_name(info.type.tensor_type.elem_type)
        if value.type is None or name.startswith("type "):
            yield _no(info.name, f"is of no type ({info.type.tensor_type.elem_type})", "export it again", table)
        elif table.types and table.casts.get(name, name) not in table.types:
            reason = f"is of type {name}, which {table.title} does not have"
            yield _no(info.name, reason, "use FP32, or INT32 for indices", table)
        negative = [dim.dim_value for dim in info.type.tensor_type.shape.dim if dim.dim_value < 0]
        if negative:
            reason = f"input '{info.name}' has a negative dimension ({negative[0]})"
            yield Finding("error", "negative-dimension", reason, FIXED, FORMAT)
        elif not table.dynamic_shapes:
            yield from _free(info.name, value.shape, table)


def _no(name: str, reason: str, remedy: str, table: Table) -> Finding:
    return Finding("error", "input-type", f"input '{name}' {reason}", remedy, table.source)


def _free(name: str, shape: tuple[int | None, ...] | None, table: Table) -> Iterator[Finding]:
    """An engine of this project is built for fixed shapes, so for one batch too."""
    if shape is None:
        yield Finding("error", "dynamic-shape", f"input '{name}' has no shape", FIXED, table.source)
    elif None in shape[1:]:
        free = ", ".join(str(index) for index, dim in enumerate(shape) if dim is None)
        reason = f"input '{name}' has free dimensions ({free}); an engine for a board wants fixed ones"
        yield Finding("error", "dynamic-shape", reason, FIXED, table.source)
    elif shape and shape[0] is None:
        reason = f"the batch of input '{name}' is free; an engine is built for one batch"
        yield Finding("error", "dynamic-batch", reason, FIXED, BUILDER)


def _integers(scope: Scope, table: Table) -> Iterator[Finding]:
    """64-bit inputs and outputs that become others in the engine."""
    ends = (*scope.graph.input, *scope.graph.output)
    for kind in (TensorProto.INT64, TensorProto.DOUBLE):
        instead = table.casts.get(type_name(kind))
        names = [info.name for info in ends if info.name not in scope.weights and scope.value(info.name).type == kind]
        if instead is not None and names:
            yield Finding(
                "warning",
                "narrowed",
                f"'{names[0]}'{' and others' if len(names) > 1 else ''} of type {type_name(kind)} will be {instead} "
                "in the engine, with buffers of half the size",
                f"cast it to {instead} in the network",
                table.source,
            )


def precision_findings(
    model: onnx.ModelProto, operators: set[str], target: Target, precision: Precision, table: Table
) -> Iterator[Finding]:
    """Whether the hardware computes in `precision`, and whether a file for TensorRT 11 is of that precision itself."""
    have = ", ".join(target.precisions)
    quantised = operators & {"QuantizeLinear", "DequantizeLinear"}
    if precision not in target.precisions or (quantised and "int8" not in target.precisions and target.tensorrt):
        wanted: Precision = precision if precision not in target.precisions else "int8"
        reason, source = _why(target, wanted)
        what = (
            f"{wanted} was asked for" if wanted == precision else "it is quantised (QuantizeLinear, DequantizeLinear)"
        )
        fix = f"use {have.replace(', ', ' or ')}" if wanted == precision else "export it without quantisation, for fp16"
        yield Finding("error", "precision", f"{what}, and {reason}", fix, source)
    if not table.strongly_typed:
        if precision == "int8" and target.tensorrt and not quantised and "int8" in target.precisions:
            yield Finding(
                "warning",
                "calibration",
                f"it is not quantised: for int8 {table.title} needs a calibration cache with it, or Q/DQ within it",
                "edgesynth export --precision int8 --data FOLDER makes either",
                table.source,
            )
        return
    if precision == "int8" and not quantised:
        yield Finding(
            "error",
            "precision-in-file",
            f"int8 was asked for, and {table.title} takes the precision from the file, which is not quantised",
            "quantise it first, in QDQ format",
            table.source,
        )
    if precision == "fp16" and _mostly_float32(model):
        yield Finding(
            "error",
            "precision-in-file",
            f"fp16 was asked for, and {table.title} takes the precision from the file, whose weights are FP32",
            "cast the network to FP16 first",
            table.source,
        )


def _why(target: Target, precision: Precision) -> tuple[str, str]:
    stated = f"{target.name} computes in {', '.join(target.precisions)}", f"edgesynth targets show {target.name}"
    return refusal(precision, target.compute_capability) or stated


def _mostly_float32(model: onnx.ModelProto) -> bool:
    count: dict[int, int] = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0, TensorProto.BFLOAT16: 0}
    for tensor, is_weight in tensors_of(model):
        if is_weight and tensor.data_type in count:
            count[tensor.data_type] += prod(tensor.dims)
    return count[TensorProto.FLOAT] > count[TensorProto.FLOAT16] + count[TensorProto.BFLOAT16]
