"""Generators and inquisitors of the toy spaces, and what they are made of."""

from collections.abc import Sequence
from functools import cache

import torch

from edgesynth.records import BlockInfo, GroupInfo
from edgesynth.requirements import parse_requirements
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import allowed_widths, full_genome
from edgesynth.synthesis.conditions import Conditions
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.workshop import smallest
from tests.space.cases import space_of

__all__ = ["METRIC", "conditions_of", "costs_of", "generator_of", "made_up_costs", "made_up_generator"]

METRIC = 0.9
"""What the prototype of every toy space is said to reach."""


@cache
def costs_of(name: str) -> CostModel:
    return CostModel.from_space(space_of(name))


def conditions_of(name: str, *requirements: str) -> Conditions:
    """Of a generator that is learned for the requirements."""
    space, costs = space_of(name), costs_of(name)
    full, least = costs.of(full_genome(space.groups, space.blocks)), smallest(space, costs)
    prototype = {"accuracy": METRIC, "macs": float(full.macs), "params": float(full.params)}
    return Conditions(
        parse_requirements(requirements), prototype, {"macs": float(least.macs), "params": float(least.params)}
    )


def generator_of(name: str, *requirements: str, seed: int = 0) -> Generator:
    """An untrained one."""
    space = space_of(name)
    return Generator(space.groups, space.blocks, costs_of(name), conditions_of(name, *requirements), seed)


def made_up_costs(groups: Sequence[GroupInfo], blocks: Sequence[BlockInfo] = ()) -> CostModel:
    """Of networks in which every channel is one parameter, applied at one position of a single resolution."""
    count = len(groups)
    return CostModel(
        rows=torch.eye(count, count + 1, dtype=torch.float64),
        columns=torch.eye(count + 1, dtype=torch.float64)[-1].repeat(count, 1),
        rest=torch.ones(count, dtype=torch.float64),
        positions=torch.ones(1, count, dtype=torch.float64),
        membership=torch.zeros(count, len(blocks), dtype=torch.float64),
        resolutions=((8, 8),),
    )


def made_up_generator(channels: Sequence[int], seed: int = 0) -> Generator:
    """Of networks with so many channels in their groups, and no blocks."""
    groups = [GroupInfo(name=str(i), channels=c, layers=[f"layer{i}"]) for i, c in enumerate(channels)]
    full, least = float(sum(channels)), float(sum(allowed_widths(c)[0] for c in channels))
    conditions = Conditions([], {"macs": full, "params": full}, {"macs": least, "params": least})
    return Generator(groups, [], made_up_costs(groups), conditions, seed)
