"""Multiply-accumulates and parameters: counted on a network, and as exact polynomials of a genome.

One counter for every network and every peer: MACs of convolutions and linear layers, nothing else. The polynomials
give the same numbers at whole genomes and have gradients in between, so neither needs to be learned.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgesynth.records import Genome
from edgesynth.space.groups import dependency_graph
from edgesynth.space.resolution import Resolution, resized
from edgesynth.space.trace import Space

__all__ = ["CostModel", "Costs", "count", "layer_positions"]


@dataclass(frozen=True)
class Costs:
    """Parameters (elements of trainable tensors) and multiply-accumulates of one image."""

    params: int
    macs: int


def count(module: nn.Module, example: Tensor) -> Costs:
    """Count a network as it stands. `example` is one image (1, C, H, W)."""
    positions = layer_positions(module, example)
    macs = 0
    for name, layer in module.named_modules():
        if name in positions:
            macs += positions[name] * layer.weight.numel()
    return Costs(sum(p.numel() for p in module.parameters()), macs)


def layer_positions(module: nn.Module, example: Tensor) -> dict[str, int]:
    """How often each convolution's or linear layer's weights are applied to one image: its output positions."""
    positions: dict[str, int] = {}
    handles = []

    def hook(name: str, transposed: bool) -> None:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # A transposed convolution spreads each input position; every other layer gathers each output position.
            image = inputs[0][0] if transposed else output[0]
            channels = layer.in_channels if transposed else _out_channels(layer)
            positions[name] = positions.get(name, 0) + image.numel() // int(channels)  # type: ignore[arg-type]

        handles.append(module.get_submodule(name).register_forward_hook(record))

    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            hook(name, isinstance(layer, nn.modules.conv._ConvTransposeNd))
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()(example)
    finally:
        module.train(was_training)
        for handle in handles:
            handle.remove()
    return positions


@dataclass(frozen=True)
class CostModel:
    """Parameters and MACs of any genome of a space, differentiable in widths, kept blocks and input resolution.

    Over L tensors with weights: `rows` and `columns` (L, M + 1) give the size of a tensor's first and second
    dimension as an affine function of the M group widths (last column: the constant part); `rest` (L,) the size of
    all further dimensions; `positions` (R, L) how often the tensor is applied per image at each of the `resolutions`
    (0: parameters only); `membership` (L, B) which droppable blocks the tensor lives in.
    """

    rows: Tensor
    columns: Tensor
    rest: Tensor
    positions: Tensor
    membership: Tensor
    resolutions: tuple[Resolution, ...]

    def __call__(self, widths: Tensor, kept: Tensor, resolution: Tensor) -> tuple[Tensor, Tensor]:
        """(params, MACs), each of shape (…,), for widths (…, M) in channels, kept blocks (…, B) in [0, 1], and the
        share (…, R) of each resolution, one of them 1 in a whole genome."""
        ones = torch.ones_like(widths[..., :1])
        sizes = torch.cat([widths, ones], dim=-1)
        elements = (sizes @ self.rows.T) * (sizes @ self.columns.T) * self.rest
        alive = torch.where(self.membership > 0, kept[..., None, :], torch.ones_like(self.membership)).prod(dim=-1)
        elements = elements * alive
        return elements.sum(dim=-1), (elements * (resolution @ self.positions)).sum(dim=-1)

    def of(self, genome: Genome) -> Costs:
        """The counts of a whole genome."""
        widths = torch.tensor(list(genome.widths.values()), dtype=torch.float64)
        kept = torch.tensor(list(genome.blocks.values()), dtype=torch.float64)
        chosen = torch.tensor([float(r == (genome.resolution or self.resolutions[0])) for r in self.resolutions])
        params, macs = self(widths, kept, chosen.double())
        return Costs(round(params.item()), round(macs.item()))

    def tensors(self) -> dict[str, Tensor]:
        """All that the polynomials consist of, by the names of the fields, without the resolutions."""
        names = ("rows", "columns", "rest", "positions", "membership")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_space(cls, space: Space) -> "CostModel":
        """Read the dependence of every tensor on every group off torch-pruning's graph."""
        module = space.module
        positions = [layer_positions(module, resized(space.example, size)) for size in space.resolutions]
        shares = _Shares(space)
        rows, columns, rest, applied, membership = [], [], [], [], []
        for owner, parameter in module.named_parameters():
            layer_name, _, attribute = owner.rpartition(".")
            layer = module.get_submodule(layer_name)
            if owner in shares.bare:
                first_size, second_size = parameter.shape[shares.bare[owner]], 1
                rows.append(shares.affine(owner, "out", first_size))
                columns.append(shares.affine(owner, None, 1))
            else:
                first, second = _dimensions(layer, attribute)
                first_size, second_size = (*parameter.shape, 1)[0], parameter.shape[1] if second else 1
                rows.append(shares.affine(layer_name, first, first_size))
                columns.append(shares.affine(layer_name, second, second_size))
            rest.append(parameter.numel() / first_size / second_size)
            applied.append([float(at.get(layer_name, 0)) if attribute == "weight" else 0.0 for at in positions])
            membership.append([float(layer_name in block.layers) for block in space.blocks])
        return cls(
            rows=torch.tensor(rows, dtype=torch.float64),
            columns=torch.tensor(columns, dtype=torch.float64),
            rest=torch.tensor(rest, dtype=torch.float64),
            positions=torch.tensor(applied, dtype=torch.float64).T,
            membership=torch.tensor(membership, dtype=torch.float64).reshape(len(rows), len(space.blocks)),
            resolutions=space.resolutions,
        )


class _Shares:
    """Which share of a layer's input and output channels goes with each group.

    `bare` names the parameters that are no layer's, with the dimension that is pruned; they have output channels only.
    """

    def __init__(self, space: Space) -> None:
        self._groups = space.groups
        self._shares: dict[tuple[str, str], list[float]] = {}
        graph = dependency_graph(space.module, space.example)
        owners: dict[object, str] = {p: name for name, p in space.module.named_parameters()}
        names = owners | {m: name for name, m in space.module.named_modules()}
        self.bare = {owners[entry.parameters]: int(entry.pruning_dim) for entry in graph.unwrapped_parameters}
        for index, group in enumerate(space.groups):
            root = space.module.get_submodule(group.name)
            handler = graph.get_pruner_of_module(root).prune_out_channels
            for dep, idxs in graph.get_pruning_group(root, handler, list(range(group.channels))):
                if dep.target.module not in names:
                    continue
                side = "out" if graph.is_out_channel_pruning_fn(dep.handler) else "in"
                key = (names[dep.target.module], side)
                row = self._shares.setdefault(key, [0.0] * len(space.groups))
                row[index] += len(idxs) / group.channels

    def affine(self, layer: str, side: str | None, size: int) -> list[float]:
        """Coefficients of a dimension of that size over the groups, and its constant part."""
        row = self._shares.get((layer, side or ""), [0.0] * len(self._groups))
        varying = sum(share * group.channels for share, group in zip(row, self._groups, strict=True))
        # A grouped dimension (depthwise: one input channel each) does not shrink with the group.
        return [*row, size - varying] if varying <= size else [*([0.0] * len(row)), float(size)]


def _dimensions(layer: nn.Module, attribute: str) -> tuple[str, str | None]:
    """Which side of the layer ("out", "in") the first and the second dimension of a parameter follow."""
    if attribute == "weight" and isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return "in", "out"
    if attribute == "weight" and isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
        return "out", None if _is_depthwise(layer) else "in"
    return "out", None


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.conv._ConvNd) and layer.groups > 1


def _out_channels(layer: nn.Module) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]
