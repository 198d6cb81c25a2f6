"""Can this ONNX file run on this target? Which node, why, and what to do. Weights are never loaded, torch neither."""

from pathlib import Path

import numpy as np
import onnx
from onnx import inliner, shape_inference

from edgesynth_exporters.check_channels import channel_findings, channel_width
from edgesynth_exporters.check_file import file_findings, opset_of, precision_findings
from edgesynth_exporters.check_memory import estimate_memory, memory_findings
from edgesynth_exporters.check_nodes import NodeChecker
from edgesynth_exporters.errors import ModelFileError
from edgesynth_exporters.findings import Finding, MemoryEstimate, Report, plain
from edgesynth_exporters.onnx_file import OnnxFile, inner_graphs, read_onnx_file
from edgesynth_exporters.onnx_scopes import NodeView, open_scope, walk
from edgesynth_exporters.rules import Table, table_for
from edgesynth_exporters.targets import Precision, Target

__all__ = ["Finding", "MemoryEstimate", "Report", "check_model"]

MOST_NODES = 1_000_000  # once functions are in place
FORMAT = "https://github.com/onnx/onnx/blob/v1.17.0/docs/IR.md"
WEIGHTED = frozenset({"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "GRU", "LSTM", "MatMul", "RNN"})
"""Operators that an infinite weight makes useless; elsewhere, as in a mask of attention, it may be meant."""


def check_model(path: Path, target: Target, precision: Precision = "fp32") -> Report:
    """What the runtime of `target` makes of the ONNX file at `path` in `precision`; see `Report.ok`.

    Raises ModelFileError when the file is missing, damaged, no ONNX or dangerous: there is then nothing to report on.
    """
    try:
        return _check(path, target, precision)
    except ModelFileError as error:
        raise ModelFileError(plain(str(error))) from error


def _check(path: Path, target: Target, precision: Precision) -> Report:
    table, exact = table_for(target.tensorrt)
    file = read_onnx_file(path)
    model = _inlined(file.model, path) if file.model.functions else file.model
    opset = opset_of(model)
    checker = NodeChecker(model, table, opset, file.beyond_int32)
    scope = open_scope(model.graph, path)
    invalid = {view.name: reason for view in walk(scope, path) if (reason := checker.invalid(view)) is not None}
    if not invalid:
        scope = open_scope(_with_shapes(model, scope.order).graph, path)
    width = channel_width(target, precision)
    nodes: list[Finding] = []
    operators: set[str] = set()
    for view in walk(scope, path):
        operators.add(view.operator)
        _refuse_infinite_weights(view, file)
        if view.name in invalid:
            nodes.append(_forbidden(view, invalid[view.name]))
            continue
        nodes += checker.findings(view)
        nodes += channel_findings(view, width) if width is not None else ()
    memory = estimate_memory(scope, path, precision, target, table)
    whole = [
        *file_findings(file, scope, target, table, exact),
        *precision_findings(model, operators, target, precision, table),
        *memory_findings(memory),
    ]
    return Report(
        file=path,
        sha256=file.sha256,
        target=target.name,
        runtime=_runtime(target, table),
        tensorrt=target.tensorrt,
        opset=opset,
        precision=precision,
        findings=(*whole, *nodes),
        memory=memory,
    )


def _runtime(target: Target, table: Table) -> str:
    return f"{table.runtime} {target.tensorrt}" if target.tensorrt else table.runtime


def _forbidden(view: NodeView, reason: str) -> Finding:
    advice = "export it again; onnx.checker.check_model says more"
    return Finding(
        "error", "onnx-valid", f"is not valid ONNX: {reason}", advice, FORMAT, view.name, view.index, view.operator
    )


def _with_shapes(model: onnx.ModelProto, order: list[int]) -> onnx.ModelProto:
    """The model with the types and shapes that ONNX can work out; as it is, where that fails."""
    try:
        if order == sorted(order):
            return shape_inference.infer_shapes(model, data_prop=True)
        inferred = shape_inference.infer_shapes(_with_nodes(model, order), data_prop=True)
    except Exception:  # InferenceError, and what operators make it raise: what is unknown then stays unknown
        return model
    return _with_nodes(inferred, sorted(range(len(order)), key=order.__getitem__))  # as they are in the file


def _with_nodes(model: onnx.ModelProto, order: list[int]) -> onnx.ModelProto:
    """A copy of the model with its nodes in another order."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    copy.graph.node.extend(model.graph.node[index] for index in order)
    return copy


def _inlined(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with its own functions put in place of their calls."""
    _refuse_endless_functions(model, path)
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:
        raise ModelFileError(f"{path}: its functions cannot be put in place ({str(error).splitlines()[0]})") from error


def _refuse_endless_functions(model: onnx.ModelProto, path: Path) -> None:
    """Functions that call each other in a circle, or double at every call, would never end."""
    bodies = {(function.domain, function.name): _all_nodes(list(function.node)) for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    pending = [(key, False) for key in bodies]
    open_: set[tuple[str, str]] = set()
    while pending:
        key, calls_counted = pending.pop()
        calls = [(node.domain, node.op_type) for node in bodies[key]]
        if calls_counted:
            sizes[key] = sum(sizes.get(call, 1) for call in calls)
            open_.discard(key)
        elif key not in sizes:
            if key in open_:
                continue
            open_.add(key)
            inner = [call for call in calls if call in bodies and call not in sizes]
            if any(call in open_ for call in inner):
                raise ModelFileError(f"{path}: its function '{key[1]}' calls itself, if through others")
            pending.append((key, True))
            pending += [(call, False) for call in inner]
    total = sum(sizes.get((node.domain, node.op_type), 1) for node in _all_nodes(list(model.graph.node)))
    if total > MOST_NODES:
        raise ModelFileError(
            f"{path}: its functions come to {total:,} nodes; more than {MOST_NODES:,} are not looked at"
        )


def _all_nodes(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """These nodes and those of the graphs within them."""
    found, waiting = [], list(nodes)
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(inner for _, graph in inner_graphs(node) for inner in graph.node)
    return found


def _refuse_infinite_weights(view: NodeView, file: OnnxFile) -> None:
    if view.proto.op_type not in WEIGHTED:
        return
    for name in view.proto.input:
        array = view.scope.array(name)
        infinite = name in file.infinite if array is None else array.dtype.kind == "f" and bool(np.isinf(array).any())
        if infinite and view.scope.is_weight(name):
            raise ModelFileError(
                f"{file.path}: weight '{name}' of {view.operator} '{view.name}' holds an infinity; "
                "train or export the network again"
            )
