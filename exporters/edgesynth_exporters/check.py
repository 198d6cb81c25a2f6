"""Can this ONNX file run on this target? Which node, why, and what to do. Weights are never loaded, torch neither."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import inliner

from edgesynth_exporters.check_channels import channel_findings, channel_width
from edgesynth_exporters.check_file import file_findings, opset_of, precision_findings
from edgesynth_exporters.check_memory import estimate_memory, memory_findings
from edgesynth_exporters.check_nodes import NodeChecker
from edgesynth_exporters.check_shapes import Misfit, infer_shapes, shape_clash
from edgesynth_exporters.check_types import type_clash
from edgesynth_exporters.errors import ModelFileError, first_line
from edgesynth_exporters.findings import Finding, MemoryEstimate, Report
from edgesynth_exporters.onnx_file import OnnxFile, inner_graphs, read_onnx_file
from edgesynth_exporters.onnx_scopes import NodeView, open_scope, walk
from edgesynth_exporters.plain import plain
from edgesynth_exporters.rules import Table, table_for, useless_when_infinite
from edgesynth_exporters.targets import Precision, Target

__all__ = ["Finding", "MemoryEstimate", "Report", "check_model"]

MOST_NODES = 1_000_000  # once functions are in place
FORMAT = "https://github.com/onnx/onnx/blob/v1.17.0/docs/IR.md"


def check_model(path: Path, target: Target, precision: Precision = "fp32") -> Report:
    """What the runtime of `target` makes of the ONNX file at `path` in `precision`; see `Report.ok`.

    Raises ModelFileError when the file is missing, damaged, no ONNX or dangerous: there is then nothing to report on.
    """
    try:
        return _check(path, target, precision)
    except ModelFileError as error:
        raise ModelFileError(plain(str(error))) from error
    except Exception as error:  # whatever else a file made for it brings about
        what = plain(f"{path}: cannot be understood: {type(error).__name__}: {first_line(error)}")
        raise ModelFileError(f"{what}; is the file whole?") from error


def _check(path: Path, target: Target, precision: Precision) -> Report:
    table, exact = table_for(target.tensorrt)
    file = read_onnx_file(path)
    model = _inlined(file.model, path) if file.model.functions else file.model
    opset = opset_of(model)
    checker = NodeChecker(model, table, opset, file.elements)
    scope = open_scope(model.graph, path)
    invalid = {view.place: reason for view in walk(scope, path) if (reason := checker.invalid(view)) is not None}
    misfits: Mapping[tuple[int, ...], Misfit] = {}
    if not invalid:
        model, misfits = infer_shapes(model, scope.order)
        scope = open_scope(model.graph, path)
    width = channel_width(target, precision)
    nodes: list[Finding] = []
    operators: set[str] = set()
    for view in walk(scope, path):
        operators.add(view.operator)
        _refuse_infinite_weights(view, file)
        if view.place in invalid:
            nodes.append(_forbidden(view, invalid[view.place]))
            nodes += checker.unsupported(view)
            continue
        nodes += checker.findings(view)
        nodes += _clashes(view, opset, misfits)
        nodes += channel_findings(view, width) if width is not None else ()
    memory = estimate_memory(scope, path, precision, target, table)
    whole = [
        *file_findings(file, scope, target, table, exact),
        *precision_findings(model, operators, target, precision, table),
        *memory_findings(memory, target),
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


def _clashes(view: NodeView, opset: int, misfits: Mapping[tuple[int, ...], Misfit]) -> Iterator[Finding]:
    """Types and shapes that do not fit together, as far as they are known."""
    clash, misfit = type_clash(view, opset), misfits.get(view.place)
    where = (FORMAT, view.name, view.index, view.operator)
    if clash is not None:
        yield Finding("error", "types-fit", clash, "cast what is of the other type", *where)
    elif misfit is not None and misfit.stated:
        advice = "write it again with the shapes that it has (onnxslim); runtimes go by the node"
        yield Finding("warning", "shapes-stated", f"the file states another shape: {misfit.reason}", advice, *where)
    else:
        reason = shape_clash(view) if misfit is None else misfit.reason
        if reason is not None:
            advice = "export it again; the network that made it does not run either"
            yield Finding("error", "shapes-fit", f"its shapes do not fit: {reason}", advice, *where)


def _runtime(target: Target, table: Table) -> str:
    return f"{table.runtime} {target.tensorrt}" if target.tensorrt else table.runtime


def _forbidden(view: NodeView, reason: str) -> Finding:
    advice = "export it again; onnx.checker.check_model says more"
    return Finding(
        "error", "onnx-valid", f"is not valid ONNX: {reason}", advice, FORMAT, view.name, view.index, view.operator
    )


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
    if view.operator not in useless_when_infinite():
        return
    for name in view.proto.input:
        tensor, array = view.scope.tensor(name), view.scope.array(name)
        if tensor is not None:
            infinite = file.elements[tensor.doc_string].infinite
        else:  # a Constant may be numbers in place of a tensor
            infinite = array is not None and array.dtype.kind == "f" and bool(np.isinf(array).any())
        if infinite:
            raise ModelFileError(
                f"{file.path}: weight '{name}' of {view.operator} '{view.name}' holds an infinity; "
                "train or export the network again"
            )
