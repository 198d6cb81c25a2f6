"""How the sizes of a network's kernels depend on the widths of its groups."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgesynth.energy.kernels import Kernel
from edgesynth.space.blocks import drop_block
from edgesynth.space.cost import CostModel
from edgesynth.space.trace import Space

__all__ = ["Channels", "KernelSizes"]


@dataclass(frozen=True)
class KernelSizes:
    """Affine functions (M + 1,) of the M group widths, the constant part last: columns and depth of the kernel's matrix
    product (0 without one), and the channels that it reads and writes. `weights` is how many parameters it has per
    channel read and channel written."""

    columns: Tensor
    depth: Tensor
    read: Tensor
    written: Tensor
    weights: float


class Channels:
    """Of one space. Kernels are found by the name of their first operator, which is that of a traced node."""

    def __init__(self, space: Space, costs: CostModel) -> None:
        self._space, self._costs = space, costs
        self._nodes = {node.name: node for node in space.module.graph.nodes}
        self._places = {name: place for place, (name, _) in enumerate(space.module.named_parameters())}
        self._constant = torch.zeros(len(space.groups) + 1, dtype=torch.float64)
        self._constant[-1] = 1.0
        self._channels: dict[str, Tensor] = {}
        for node in space.module.graph.nodes:
            self._channels[node.name] = self._written(node)

    @property
    def full(self) -> Tensor:
        """(M + 1,) the widths of the prototype, and 1."""
        return torch.tensor([*(group.channels for group in self._space.groups), 1.0], dtype=torch.float64)

    def of(self, kernel: Kernel) -> KernelSizes:
        """The sizes of a kernel of the prototype."""
        node = self._nodes[_node(kernel.name)]
        layer, place = self._layer(node)
        read, written = self._read(node), self._channels[node.name]
        if layer is None:
            nothing = torch.zeros_like(self._constant)
            return KernelSizes(nothing, nothing, read, written, 0.0)
        first, second, rest = self._costs.rows[place], self._costs.columns[place], float(self._costs.rest[place])
        if kernel.kind == "depthwise":
            return KernelSizes(first, second * rest, written, written, 0.0)
        if isinstance(layer, nn.modules.conv._ConvTransposeNd):
            return KernelSizes(second * rest, first, first, second, rest)
        return KernelSizes(first / kernel.groups, second * rest, second, first, rest)

    def membership(self, kernels: Sequence[str]) -> Tensor:
        """(K, B) 1 where a kernel of that name vanishes with a droppable block."""
        columns = []
        for block in self._space.blocks:
            module = copy.deepcopy(self._space.module)
            drop_block(module, block)
            left = {node.name for node in module.graph.nodes}
            columns.append([float(_node(name) not in left) for name in kernels])
        return torch.tensor(columns, dtype=torch.float64).reshape(len(columns), len(kernels)).T

    def _layer(self, node: fx.Node) -> tuple[nn.Module | None, int]:
        """The layer with weights that a node calls, and the place of its weight among the parameters."""
        place = self._places.get(f"{node.target}.weight", -1) if node.op == "call_module" else -1
        layer = self._space.module.get_submodule(str(node.target)) if place >= 0 else None
        return (layer, place) if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd) else (None, -1)

    def _read(self, node: fx.Node) -> Tensor:
        inputs = [self._channels[each.name] for each in node.all_input_nodes]
        return inputs[0] if inputs else self._constant

    def _written(self, node: fx.Node) -> Tensor:
        """Channels of a node's output; what has none of its own has those of what it reads."""
        if node.op == "placeholder":
            return self._constant * self._space.example.shape[1]
        layer, place = self._layer(node)
        if layer is not None:
            transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
            return (self._costs.columns if transposed else self._costs.rows)[place]
        if node.op == "call_function" and node.target in (torch.cat, torch.concat):
            return torch.stack([self._channels[each.name] for each in node.all_input_nodes]).sum(dim=0)
        return self._read(node)


def _node(kernel: str) -> str:
    """The traced node that an operator's name belongs to."""
    return kernel.partition(".")[0]
