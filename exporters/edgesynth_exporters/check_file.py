"""What the rules say about a file as a whole: opset, precision, inputs, where its weights are."""

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edgesynth_exporters.element_types import type_name
from edgesynth_exporters.findings import Finding
from edgesynth_exporters.onnx_file import OnnxFile
from edgesynth_exporters.onnx_scopes import Scope
from edgesynth_exporters.rules import Table, hardware
from edgesynth_exporters.targets import Precision, Target

__all__ = ["file_findings", "opset_of", "precision_findings"]

AGENT = "jetson/edgesynth_agent/onnx_file.py of this project"
FUNCTIONS = "https://github.com/onnx/onnx-tensorrt/blob/0137504e2b25fe5253bd85d26b073378fb67805b/docs/Changelog.md"
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
        yield Finding(
            "warning",
            "external-data",
            f"{len(file.external)} tensors are in other files ({names}{', …' if len(file.external) > 3 else ''})",
            "save the network with its weights inside: the agent takes self-contained files only",
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
    if file.model.graph.sparse_initializer:
        yield Finding("error", "sparse", "it has sparse weights", "store them as dense tensors", table.source)
    if file.model.functions and not table.local_functions:
        yield Finding(
            "error",
            "local-functions",
            f"it has functions of its own ({file.model.functions[0].name} …), which {table.title} does not know",
            "put them in place: onnx.inliner.inline_local_functions",
            FUNCTIONS,
        )
    if target.tensorrt is not None:
        yield from _inputs(scope, table)
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


def _inputs(scope: Scope, table: Table) -> Iterator[Finding]:
    """Inputs of the graph whose type or shape TensorRT does not take, or takes at a cost."""
    for info in scope.graph.input:
        if info.name in scope.weights:
            continue
        if not info.type.HasField("tensor_type"):
            yield Finding(
                "error",
                "input-type",
                f"input '{info.name}' is no tensor",
                "use tensors in place of sequences, maps and optional values",
                table.source,
            )
            continue
        value = scope.value(info.name)
        kind = type_name(value.type)
        if table.types and value.type is not None and table.casts.get(kind, kind) not in table.types:
            yield Finding(
                "error",
                "input-type",
                f"input '{info.name}' is of type {kind}, which {table.title} does not have",
                "use FP32, or INT32 for indices",
                table.source,
            )
        if not table.dynamic_shapes:
            yield from _free(info.name, value.shape, table)


def _free(name: str, shape: tuple[int | None, ...] | None, table: Table) -> Iterator[Finding]:
    remedy = "export with fixed sizes (torch.onnx.export without dynamic_axes or dynamic_shapes)"
    if shape is None:
        yield Finding("error", "dynamic-shape", f"input '{name}' has no shape", remedy, table.source)
    elif None in shape[1:]:
        free = ", ".join(str(index) for index, dim in enumerate(shape) if dim is None)
        reason = f"input '{name}' has free dimensions ({free}); an engine for a board wants fixed ones"
        yield Finding("error", "dynamic-shape", reason, remedy, table.source)
    elif shape and shape[0] is None:
        reason = f"the batch of input '{name}' is free; an engine is built for one batch, here 1"
        yield Finding("warning", "dynamic-batch", reason, f"{remedy}, or build with a profile for it", table.source)


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
    for refusal in hardware().refusals:
        if refusal.precision == precision and target.compute_capability in refusal.compute_capabilities:
            return refusal.reason.format(compute_capability=target.compute_capability), refusal.source
    return f"{target.name} computes in {', '.join(target.precisions)}", "edgesynth targets show " + target.name


def _mostly_float32(model: onnx.ModelProto) -> bool:
    count = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0, TensorProto.BFLOAT16: 0}
    for tensor in model.graph.initializer:
        if tensor.data_type in count:
            size = 1
            for dim in tensor.dims:
                size *= dim
            count[tensor.data_type] += size
    return count[TensorProto.FLOAT] > count[TensorProto.FLOAT16] + count[TensorProto.BFLOAT16]
