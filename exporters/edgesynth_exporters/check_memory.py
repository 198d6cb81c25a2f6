"""How much memory an engine of a graph takes on a board, about."""

from math import prod
from pathlib import Path

from edgesynth_exporters.element_types import type_name
from edgesynth_exporters.findings import Finding, MemoryEstimate, mebibytes
from edgesynth_exporters.onnx_file import inner_graphs
from edgesynth_exporters.onnx_scopes import Scope, open_scope
from edgesynth_exporters.onnx_weights import element_bits
from edgesynth_exporters.rules import Table, hardware
from edgesynth_exporters.targets import Precision, Target

__all__ = ["estimate_memory", "memory_findings"]

MIB = 1 << 20
FLOATS = frozenset({"FP32", "FP16", "BF16", "DOUBLE"})
BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 1}
MOST_BYTES = 1 << 1000  # a damaged file may state any size; more than this is no float any more


class _UnknownSizeError(Exception):
    """A tensor whose size nobody states."""


def estimate_memory(scope: Scope, path: Path, precision: Precision, target: Target, table: Table) -> MemoryEstimate:
    """Weights and the largest set of tensors alive at once, floating-point ones in `precision`, and workspace.

    A free batch counts as 1. Tensors that follow from constants alone count as weights where others read them.
    """
    workspace = float(hardware().workspace_mib) if target.tensorrt else 0.0
    sizes = _Sizes(precision, table)
    try:
        weights, activations = _weights(scope, path, sizes), _peak(scope, path, sizes)
    except _UnknownSizeError as unknown:
        return MemoryEstimate(None, None, workspace, target.memory_mib, f"the size of '{unknown}' is not known")
    return MemoryEstimate(
        min(weights, MOST_BYTES) / MIB, min(activations, MOST_BYTES) / MIB, workspace, target.memory_mib
    )


def memory_findings(memory: MemoryEstimate, target: Target) -> list[Finding]:
    """An error where the estimate is above what the board has, a warning where it leaves too little of that."""
    total, available = memory.total_mib, memory.available_mib
    if total is None or available is None or total <= hardware().cramped * available:
        return []
    return [
        Finding(
            "error" if total > available else "warning",
            "memory",
            f"an engine takes about {mebibytes(total)} MiB, the board has {mebibytes(available)} MiB in all",
            "make the network smaller: fewer channels, a smaller input, a lower precision",
            f"the board's memory: {target.sources.get('memory_mib', f'edgesynth targets show {target.name}')}; "
            f"workspace: {hardware().workspace_source}",
        )
    ]


class _Sizes:
    """Bytes of a tensor on the board."""

    def __init__(self, precision: Precision, table: Table) -> None:
        self._float = BYTES[precision]
        self._casts = table.casts

    def bytes(self, scope: Scope, name: str) -> int:
        value = scope.value(name)
        if value.type is None or value.shape is None or None in value.shape[1:]:
            raise _UnknownSizeError(name)
        count = prod(1 if dim is None else dim for dim in value.shape)
        kind = type_name(value.type)
        if kind in FLOATS:
            return count * self._float
        bits = 32 if self._casts.get(kind) == "INT32" else element_bits(value.type)
        return count * (bits or 0) // 8


def _weights(scope: Scope, path: Path, sizes: _Sizes) -> int:
    read: dict[str, None] = {}  # a set in the order of the nodes
    total = 0
    for node in scope.graph.node:
        if not all(not name or scope.is_folded(name) for name in node.output) or any(inner_graphs(node)):
            read.update((name, None) for name in node.input if name in scope.folds)
        for attribute, graph in inner_graphs(node):
            total += _weights(open_scope(graph, path, scope, f"{attribute}/"), path, sizes)
    return total + sum(sizes.bytes(scope, name) for name in read)


def _peak(scope: Scope, path: Path, sizes: _Sizes) -> int:
    """The most bytes that are alive at once while the graph runs."""
    nodes = [scope.graph.node[index] for index in scope.order]
    end = len(nodes)
    last: dict[str, int] = {}
    for step, node in enumerate(nodes):
        last.update(dict.fromkeys(node.input, step))
    last.update({value.name: end for value in scope.graph.output})
    born: dict[str, int] = {value.name: 0 for value in scope.graph.input if value.name not in scope.folds}
    inner = [0] * end
    for step, node in enumerate(nodes):
        born.update({name: step for name in node.output if name and name not in scope.folds})
        for attribute, graph in inner_graphs(node):
            inner[step] += _peak(open_scope(graph, path, scope, f"{attribute}/"), path, sizes)
    change = [0] * (end + 2)
    for name, step in born.items():
        if name in last:  # what nobody reads is not kept
            size = sizes.bytes(scope, name)
            change[step] += size
            change[last[name] + 1] -= size
    alive, peak = 0, 0
    for step in range(end):
        alive += change[step]
        peak = max(peak, alive + inner[step])
    return peak
