"""A made-up world for the learner: the truth about every network is a formula, so nothing needs training."""

import math
from collections.abc import Sequence

import torch

from edgesynth.prototypes import resnet20
from edgesynth.records import Genome
from edgesynth.requirements import parse_requirements
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import digest
from edgesynth.space.surgery import identity_ranking, kept_channels
from edgesynth.space.trace import Space, trace
from edgesynth.synthesis.conditions import Conditions
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.inquisitor import Evidence, Inquisitor
from edgesynth.synthesis.loop import Learner
from edgesynth.synthesis.objective import Objective
from edgesynth.synthesis.probe import GroupResponse, Responses
from edgesynth.synthesis.scoring import Score
from edgesynth.synthesis.workshop import smallest

PROTOTYPE_METRIC = 0.95
SIDE = 36
"""Of the images: they can be made smaller once, to 32."""


class World:
    """ResNet-20 in which some groups and blocks matter much and others hardly, by fixed random weights."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.space: Space = trace(resnet20(1, 10), torch.zeros(1, 1, SIDE, SIDE))
        self.costs = CostModel.from_space(self.space)
        self.ranking = identity_ranking(self.space.groups)
        random = torch.Generator().manual_seed(seed)
        self.pain = {g.name: float(0.009 * torch.rand((), generator=random) ** 3) for g in self.space.groups}
        self.block_pain = {b.name: float(0.03 * torch.rand((), generator=random) ** 2) for b in self.space.blocks}
        self.resolution_pain = 0.01
        self.scored = 0

    def metric(self, genome: Genome) -> float:
        """The truth: falls with every channel and block that goes, more steeply the less is left."""
        loss = sum(self.block_pain[name] for name, kept in genome.blocks.items() if not kept)
        for group in self.space.groups:
            share = genome.widths[group.name] / group.channels
            loss += 0 if share == 0 else self.pain[group.name] * (1 / share - 1)
        loss += 0.0 if genome.resolution is None else self.resolution_pain * (SIDE - genome.resolution[0])
        return max(0.1, PROTOTYPE_METRIC - loss)

    def score(self, genomes: Sequence[Genome]) -> list[Score]:
        self.scored += len(genomes)
        return [self._score(genome) for genome in genomes]

    def _score(self, genome: Genome) -> Score:
        costs = self.costs.of(genome)
        groups = {}
        for group in self.space.groups:
            kept = kept_channels(genome, self.ranking, group.name)
            if kept:
                taylor = [self.pain[group.name] * math.exp(-channel / group.channels) for channel in kept]
                groups[group.name] = GroupResponse(mean_abs=1.0, dead=0.0, taylor=taylor)
        blocks = {name: self.block_pain[name] for name, kept in genome.blocks.items() if kept}
        return Score(
            digest=digest(genome),
            genome=genome,
            metric=self.metric(genome),
            params=costs.params,
            macs=costs.macs,
            on_target={},
            responses=Responses(groups=groups, blocks=blocks),
        )

    def learner(self, requirements: Sequence[str], seed: int = 0, performance: str = "netscore") -> Learner:
        space = self.space
        full = self.costs.of(
            Genome(widths={g.name: g.channels for g in space.groups}, blocks={b.name: True for b in space.blocks})
        )
        prototype = {"accuracy": PROTOTYPE_METRIC, "macs": float(full.macs), "params": float(full.params)}
        least = smallest(space, self.costs)
        asked = parse_requirements(requirements)
        conditions = Conditions(asked, prototype, {"macs": float(least.macs), "params": float(least.params)})
        objective = Objective(
            demand=asked,
            prototype=prototype,
            prototype_scored=PROTOTYPE_METRIC,
            prototype_finished=PROTOTYPE_METRIC,
            costs=self.costs,
            conditions=conditions,
            performance=performance,
        )
        evidence = Evidence(space.groups, space.blocks, self.ranking)
        inquisitor = Inquisitor(space.groups, space.blocks, self.costs, evidence, seed)
        generator = Generator(space.groups, space.blocks, self.costs, conditions, seed)
        return Learner(generator, inquisitor, objective, seed)
