"""One width factor for all layers: what anyone would try first, and the least that a search must beat."""

import torch
from torch import nn

from benchmarks.classification.contestants.base import Compressed, ContestantError
from benchmarks.classification.material import Material, Stopwatch
from edgesynth.records import Genome
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import canonical
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import Space, trace
from edgesynth.synthesis.training import seed_of

__all__ = ["distilled", "largest_uniform", "scratch"]

STEPS = 1024
"""Width factors are tried in steps of one part in so many: finer than any width of less than 512 channels."""


def scratch(material: Material, budget: int) -> Compressed:
    """Random weights, labels alone."""
    return _uniform(material, budget, taught=False)


def distilled(material: Material, budget: int) -> Compressed:
    """Random weights, distilled as all others are."""
    return _uniform(material, budget, taught=True)


def _uniform(material: Material, budget: int, taught: bool) -> Compressed:
    watch = Stopwatch()
    space = trace(material.prototype, material.example)
    factor, genome = largest_uniform(space, material.limit(budget))
    module = materialise(space, genome, identity_ranking(space.groups))
    torch.manual_seed(seed_of(material.seed, 5))
    initialise(module)
    return Compressed(module, watch.cpu_s, taught=taught, genome=genome, details={"width_factor": factor})


def largest_uniform(space: Space, limit: int) -> tuple[float, Genome]:
    """The largest factor, and its network, that needs at most `limit` MACs; widths are rounded, and at least 1.

    Raises ContestantError where even one channel a layer is too much.
    """
    costs = CostModel.from_space(space)
    for parts in range(STEPS, 0, -1):
        widths = {group.name: max(1, int(group.channels * parts / STEPS + 0.5)) for group in space.groups}
        genome = canonical(widths, {block.name: True for block in space.blocks}, space.groups, space.blocks)
        if costs.of(genome).macs <= limit:
            return parts / STEPS, genome
    raise ContestantError(f"one channel a layer is already more than {limit:,} MACs")


def initialise(module: nn.Module) -> None:
    """Random weights as a built-in prototype starts from."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer.reset_parameters()
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
