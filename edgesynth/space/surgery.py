"""From a genome to a network: channels physically removed by torch-pruning, blocks dropped from the graph."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, fx

from edgesynth.records import Genome, GroupInfo
from edgesynth.space.blocks import drop_block
from edgesynth.space.groups import dependency_graph
from edgesynth.space.resolution import insert_resize
from edgesynth.space.trace import Space

__all__ = ["IndexMap", "Ranking", "identity_ranking", "kept_channels", "materialise", "source_indices"]

Ranking = Mapping[str, list[int]]
"""For each group its channels, most important first. A genome that keeps k channels keeps the first k."""

IndexMap = dict[str, Tensor]
"""For each parameter and buffer of a small network: where its elements lie in the prototype's, flattened."""


def identity_ranking(groups: tuple[GroupInfo, ...]) -> Ranking:
    """Channels in the order in which they stand."""
    return {group.name: list(range(group.channels)) for group in groups}


def kept_channels(genome: Genome, ranking: Ranking, group: str) -> list[int]:
    """Indices into the prototype's channels that a network keeps, ascending, as they stand in the network."""
    return sorted(ranking[group][: genome.widths[group]])


def materialise(
    space: Space, genome: Genome, ranking: Ranking, weights: Mapping[str, Tensor] | None = None
) -> fx.GraphModule:
    """The network of a genome, in eval mode, with weights inherited from `weights` (a state dict of the prototype's
    shape) or else from the prototype itself."""
    module = copy.deepcopy(space.module)
    if weights is not None:
        module.load_state_dict(weights)
    _prune(space, module, genome, ranking)
    return module


def source_indices(space: Space, genome: Genome, ranking: Ranking) -> IndexMap:
    """Where each element of the genome's network comes from in the prototype.

    Found by the surgery itself: it is carried out on a copy whose every element holds its own position, so
    whatever torch-pruning does to a tensor, concatenation and flattening included, is on record.
    """
    module = copy.deepcopy(space.module).double()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            # Positions are exact in double precision up to 2^53.
            tensor.data = torch.arange(tensor.numel(), dtype=torch.float64).view(tensor.shape)
    _prune(space, module, genome, ranking)
    return {name: tensor.long() for name, tensor in module.state_dict().items() if tensor.is_floating_point()}


def _prune(space: Space, module: fx.GraphModule, genome: Genome, ranking: Ranking) -> None:
    example = space.example.to(next(module.parameters()).dtype)
    graph = dependency_graph(module, example)
    for group in space.groups:
        width = genome.widths[group.name]
        if width in (0, group.channels):
            continue
        root = module.get_submodule(group.name)
        surplus = sorted(ranking[group.name][width:])
        pruner = graph.get_pruner_of_module(root).prune_out_channels
        graph.get_pruning_group(root, pruner, surplus).prune()
    for block in space.blocks:
        if not genome.blocks[block.name]:
            drop_block(module, block)
    if genome.resolution is not None and genome.resolution != space.resolutions[0]:
        insert_resize(module, genome.resolution)
    module.eval()
