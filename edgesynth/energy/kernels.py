"""From an ONNX graph to the kernels that TensorRT would launch for it: the first form of fusion.

What joins into one kernel follows NVIDIA's catalogue of layer fusions
(https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/fusion-catalog.html):

    convolution (+ batch norm) (+ activation) (+ sum (+ activation))     one kernel
    matrix product (+ bias) (+ activation)                               one kernel
    a chain of element-wise operators                                    one kernel
    a sum of computed tensors that joins no convolution                  begins a kernel
    reshape, flatten, identity, dropout, cast, whatever is constant      no kernel
    what no output depends on                                            no kernel

That a sum begins a kernel is what the measured networks tell (data/README.md). A join needs the tensor between the two
operators to have no other reader, for it then never reaches memory. A sum joins a convolution only where nothing is
broadcast, so a constant added after a convolution is a kernel.
Left out, because TensorRT does it only in some cases: a concatenation written in place, neighbouring convolutions
of one input merged into one, `x * sigmoid(x)` inside a convolution. Each counts its own kernel here.
"""

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from edgesynth_exporters.onnx_graph import Graph, Node, Shape, node_macs, parameter_count

__all__ = ["BYTES", "Kernel", "Kind", "Precision", "kernels_of"]

Kind = Literal["convolution", "depthwise", "matrix product", "element-wise", "sum", "pooling", "softmax", "copy"]
Precision = Literal["fp32", "fp16"]

BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2}

SUMS = {"Add", "Sum"}
NO_KERNEL = {"Cast", "Constant", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
ACTIVATIONS = {"Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Relu", "Selu"}
ACTIVATIONS |= {"Sigmoid", "Softplus", "Tanh"}
ARITHMETIC = {"Abs", "Add", "And", "BatchNormalization", "Ceil", "Cos", "Div", "Equal", "Exp", "Floor", "Greater"}
ARITHMETIC |= {"GreaterOrEqual", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Not"}
ARITHMETIC |= {"Or", "Pow", "Reciprocal", "Round", "Sign", "Sin", "Sqrt", "Sub", "Sum", "Where"}
POOLING = {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool"}
POOLING |= {"ArgMax", "ArgMin", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "TopK"}
SOFTMAX = {"InstanceNormalization", "LRN", "LayerNormalization", "LogSoftmax", "Softmax"}
COPIES = {"Concat", "DepthToSpace", "Expand", "Gather", "GatherElements", "GatherND", "Pad", "Resize"}
COPIES |= {"ScatterElements", "ScatterND", "Slice", "SpaceToDepth", "Split", "Tile", "Transpose", "Upsample"}
OTHERS: dict[str, Kind] = {
    **dict.fromkeys(POOLING, "pooling"),
    **dict.fromkeys(SOFTMAX, "softmax"),
    **dict.fromkeys(COPIES, "copy"),
}
MATRIX: dict[str, Kind] = {
    "Conv": "convolution",
    "ConvTranspose": "convolution",
    "Gemm": "matrix product",
    "MatMul": "matrix product",
}


@dataclass(frozen=True)
class Kernel:
    """One launch. `rows` x `columns` x `depth` is its matrix product, once per group; 0 where it has none.

    `sums` counts the additions of computed tensors in it.
    `bytes_read` counts each input once, weights included, at the precision of the network; caches are ignored.
    """

    name: str
    kind: Kind
    operators: tuple[str, ...]
    macs: int
    params: int
    bytes_read: int
    bytes_written: int
    output_shape: Shape
    rows: int = 0
    columns: int = 0
    depth: int = 0
    groups: int = 1
    sums: int = 0


@dataclass(eq=False)
class _Draft:
    """A kernel while operators may still join it. `stage`: 0 fresh, 1 activated, 2 summed, 3 closed.

    `order` is the place of its last operator: a kernel runs once its last operand is there.
    """

    kind: Kind
    nodes: list[Node] = field(default_factory=list)
    stage: int = 0
    order: int = 0
    sums: int = 0


def kernels_of(graph: Graph, precision: Precision = "fp16") -> tuple[list[Kernel], list[str]]:
    """The kernels of `graph` in the order of their launch, and warnings naming every operator not known here."""
    drafts: list[_Draft] = []
    producer: dict[str, _Draft] = {}
    living = _living(graph)
    readers = Counter(name for node in living for name in set(node.inputs))
    readers.update(graph.outputs)
    alias: dict[str, str] = {}
    unknown: set[str] = set(graph.assumed)
    for order, node in enumerate(living):
        if all(name in graph.constants for name in node.outputs):
            continue
        if node.op in NO_KERNEL:
            source = node.inputs[0]
            alias[node.outputs[0]] = alias.get(source, source)
            if source in producer and readers[source] == 1:
                producer[node.outputs[0]] = producer[source]
            continue
        draft = _joined(graph, node, producer, readers)
        if draft is None:
            kind = _kind(graph, node)
            draft = _Draft(kind)
            if kind == "element-wise" and node.op not in ACTIVATIONS | ARITHMETIC:
                unknown.add(node.op)
                draft.stage = 3
            drafts.append(draft)
        draft.nodes.append(node)
        draft.order = order
        draft.sums += _is_sum(graph, node)
        producer.update(dict.fromkeys(node.outputs, draft))
    names = ", ".join(sorted(unknown))
    warnings = (
        [f"operators not known to the model, each counted as one element-wise kernel: {names}"] if unknown else []
    )
    drafts.sort(key=lambda draft: draft.order)
    return [_finish(graph, draft, alias, precision) for draft in drafts], warnings


def _living(graph: Graph) -> list[Node]:
    """The operators that an output depends on, in their order."""
    wanted, living = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.outputs):
            living.append(node)
            wanted.update(node.inputs)
    return living[::-1]


def _kind(graph: Graph, node: Node) -> Kind:
    if _is_depthwise(graph, node):
        return "depthwise"
    if _is_sum(graph, node):
        return "sum"
    return MATRIX.get(node.op) or OTHERS.get(node.op) or "element-wise"


def _is_sum(graph: Graph, node: Node) -> bool:
    """Whether it adds tensors up that are computed, of one size: a constant, or one that is broadcast, is no such."""
    computed = [name for name in node.inputs if name not in graph.constants]
    return node.op in SUMS and len(computed) > 1 and len({graph.shapes[name] for name in computed}) == 1


def _joined(graph: Graph, node: Node, producer: dict[str, _Draft], readers: Counter[str]) -> _Draft | None:
    """The kernel that `node` joins, or None. Of several it takes the one launched last."""
    if node.op not in ACTIVATIONS | ARITHMETIC:
        return None
    for name in reversed(node.inputs):
        draft = producer.get(name)
        same_size = draft is not None and graph.shapes[name] == graph.shapes[node.outputs[0]]
        if draft is None or not same_size or readers[name] != 1:
            continue
        stage = _stage_after(draft, node, graph)
        if stage is not None:
            draft.stage = stage
            return draft
    return None


def _stage_after(draft: _Draft, node: Node, graph: Graph) -> int | None:
    """The stage of `draft` once `node` has joined it; None where it cannot."""
    if draft.kind in ("element-wise", "sum"):
        return draft.stage if draft.stage < 3 and not _is_sum(graph, node) else None
    if draft.kind not in ("convolution", "depthwise", "matrix product"):
        return None
    if node.op in ACTIVATIONS:
        return {0: 1, 2: 3}.get(draft.stage)
    others = [name for name in node.inputs if name not in graph.constants]
    if len(others) == 1:  # folded into the weights: a batch norm, and the bias of a matrix product
        folds = "Add" if draft.kind == "matrix product" else "BatchNormalization"
        return 0 if draft.stage == 0 and node.op == folds else None
    return 2 if _is_sum(graph, node) and len(others) == 2 and draft.stage < 2 else None


def _is_depthwise(graph: Graph, node: Node) -> bool:
    groups = int(node.attributes.get("group", 1))
    return node.op == "Conv" and groups > 1 and groups == graph.shapes[node.inputs[0]][1]


def _finish(graph: Graph, draft: _Draft, alias: dict[str, str], precision: Precision) -> Kernel:
    own = {name for node in draft.nodes for name in node.outputs}
    first, last = draft.nodes[0], draft.nodes[-1]
    read = {alias.get(name, name) for node in draft.nodes for name in node.inputs} - own - graph.constants
    params = parameter_count(graph, draft.nodes)
    size = BYTES[precision]
    rows, columns, depth, groups = _matrix(graph, first)
    return Kernel(
        name=first.name,
        kind=draft.kind,
        operators=tuple(node.op for node in draft.nodes),
        macs=sum(node_macs(graph, node) for node in draft.nodes),
        params=params,
        bytes_read=size * (params + sum(prod(graph.shapes[name]) for name in read)),
        bytes_written=size * sum(prod(graph.shapes[name]) for name in last.outputs),
        output_shape=graph.shapes[last.outputs[0]],
        rows=rows,
        columns=columns,
        depth=depth,
        groups=groups,
        sums=draft.sums,
    )


def _matrix(graph: Graph, node: Node) -> tuple[int, int, int, int]:
    """Rows, columns, depth and groups of the matrix product inside a convolution, a Gemm or a MatMul."""
    if node.op not in MATRIX:
        return 0, 0, 0, 1
    out, weights = graph.shapes[node.outputs[0]], graph.shapes[node.inputs[1]]
    groups = int(node.attributes.get("group", 1))
    if node.op == "ConvTranspose":
        depth, columns = weights[0] // groups, prod(weights[1:])
    else:
        depth = node_macs(graph, node) // prod(out)
        columns = out[1] // groups if node.op == "Conv" else out[-1]
    return node_macs(graph, node) // (columns * depth * groups), columns, depth, groups
