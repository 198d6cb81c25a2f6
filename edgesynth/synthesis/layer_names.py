"""Names for the kernels of an estimate that mean the same layer in the prototype and in the networks made of it.

An ONNX file numbers what has the same name (`/conv1_3/Conv`), so its names shift when a block goes. A convolution or
matrix product is named after its module instead, anything else after the one that follows it ("pooling before head").
"""

from collections import Counter
from pathlib import Path

from edgesynth_exporters.onnx_graph import MATRIX_OPERATORS, read_graph
from torch import fx, nn

from edgesynth.records import REST, LayerCost, Measurement

__all__ = ["with_layer_names"]

_MATRIX_MODULES = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)


def with_layer_names(measurement: Measurement, onnx: Path, module: nn.Module) -> Measurement:
    """The measurement with its layers named after modules. `onnx` is the export of `module`; as it is where the two do
    not have the same convolutions and matrix products one by one."""
    if measurement.layers is None or not isinstance(module, fx.GraphModule):
        return measurement
    nodes = [node.name for node in read_graph(onnx).nodes if node.op in MATRIX_OPERATORS]
    modules = [str(node.target) for node in module.graph.nodes if _is_matrix(module, node)]
    if len(nodes) != len(modules):
        return measurement
    return measurement.model_copy(update={"layers": _named(measurement.layers, dict(zip(nodes, modules, strict=True)))})


def _is_matrix(module: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), _MATRIX_MODULES)


def _named(layers: list[LayerCost], modules: dict[str, str]) -> list[LayerCost]:
    """Backwards, for the name of the one that follows; what is called the same is counted from the front."""
    follower, names = "", []
    for cost in reversed(layers):
        if cost.layer in modules:
            follower = modules[cost.layer]
            names.append(follower)
        elif cost.kind == REST:
            names.append(cost.layer)
        else:
            names.append(f"{cost.kind} before {follower}" if follower else f"{cost.kind} at the end")
    seen: Counter[str] = Counter()
    named = []
    for cost, name in zip(layers, reversed(names), strict=True):
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name} ({seen[name]})"
        named.append(cost.model_copy(update={"layer": unique}))
    return named
