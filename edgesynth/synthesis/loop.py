"""The loop of generative synthesis: seeds → generator → networks → inquisitor → Δθ_G, cycle after cycle."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor

from edgesynth.errors import ToolError
from edgesynth.performance import performance
from edgesynth.records import Cycle, Genome
from edgesynth.requirements import METRICS
from edgesynth.space.genome import digest
from edgesynth.synthesis.conditions import Demand
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.inquisitor import Inquisitor
from edgesynth.synthesis.objective import METRIC, Objective, finished_metric
from edgesynth.synthesis.scoring import Score
from edgesynth.synthesis.storage import under
from edgesynth.synthesis.training import seed_of

__all__ = ["Learner", "ScoreMany", "spread_genomes", "values_of"]

SEEDS_A_CYCLE = 12
EXPLORERS_A_CYCLE = 4
EXPLORATION = 0.7
"""Standard deviation of the noise on an explorer's width logits."""
WARM_START = 24
"""Genomes of the untrained generator, spread over sizes, that the inquisitor's first fit has to hold on to."""
WIDE = 2.0
"""Added to width logits where networks should fill their budgets."""
STEPS_A_CYCLE = 100
DEMANDS_A_STEP, SEEDS_A_DEMAND = 8, 8
LEARNING_RATE = 3e-3

ScoreMany = Callable[[Sequence[Genome]], list[Score]]


@dataclass
class Learner:
    """Generator, inquisitor and multipliers of one run, and the step that moves them.

    Every random draw is a function of (seed, cycle), so a learner restored from `state()` goes on as if never stopped.
    """

    generator: Generator
    inquisitor: Inquisitor
    objective: Objective
    seed: int

    def __post_init__(self) -> None:
        self._adam = torch.optim.Adam(self.generator.parameters(), lr=LEARNING_RATE)
        self._scores: dict[str, Score] = {}

    @property
    def known(self) -> list[str]:
        """Digests of the networks learned from so far, in order."""
        return list(self._scores)

    def cycle(self, number: int, score: ScoreMany) -> Cycle:
        """One turn: draw seeds, score their networks, let the inquisitor learn, move the generator.

        The figures are those of the generator as it was at the start of the cycle, so cycle 0 shows the untrained one.
        """
        seeds = [_learning_seed(self.seed, number, i) for i in range(SEEDS_A_CYCLE)]
        demands = self.generator.conditions.draw(seeds)
        genomes = self._draft(seeds, demands)
        explorers = self._explore(number)
        if number == 0:
            explorers += spread_genomes(self.generator, self.seed, WARM_START)
        predicted = self._predict(genomes)
        scores = score([*genomes, *explorers])
        for one in scores:
            if one.failure is None and one.digest not in self._scores:
                self.inquisitor.evidence.add(one.genome, one.responses)
                self._scores[one.digest] = one
        self._learn()
        self._step(number)
        return self._summary(number, scores[: len(genomes)], demands, predicted)

    def satisfied(self, score: Score, demand: Demand | None = None) -> bool:
        """1_r as far as it can be told from a score: the metric as it is expected after finishing.

        Without a demand, that of the objective.
        """
        values, prototype = values_of(score, self._expected(score)), self.objective.prototype
        asked = self.objective.demand if demand is None else demand
        return score.failure is None and all(r.met(values.get(r.key), prototype.get(r.key)) is True for r in asked)

    def shortfall(self, score: Score) -> float:
        """Sum of the relative violations; 0 for a network that meets everything that can be told."""
        values, total = values_of(score, self._expected(score)), 0.0
        for r in self.objective.demand:
            value, bound = values.get(r.key), r.bound(self.objective.prototype.get(r.key))
            if value is not None:
                total += max(0.0, r.violation(value, self.objective.prototype.get(r.key))) / max(abs(bound), 1e-12)
        return total

    def expected_u(self, score: Score) -> float:
        """U with the metric as expected after finishing; never -inf, so that means of it mean something."""
        return performance(self.objective.performance, self._expected(score), score.params, score.macs)

    def state(self) -> dict[str, Tensor]:
        """θ_G, θ_I, the optimiser and the multipliers as tensors."""
        tensors = {f"generator.{k}": v for k, v in self.generator.state_dict().items()}
        tensors |= {f"inquisitor.{k}": v for k, v in self.inquisitor.state().items()}
        for index, parameter in enumerate(self.generator.parameters()):
            moments = self._adam.state[parameter]
            tensors |= {f"adam.{index}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        multipliers = torch.tensor(list(self.objective.multipliers.values()), dtype=torch.float64)
        return tensors | {"multipliers": multipliers, "transfer": torch.tensor(self.objective.transfer).double()}

    def restore(self, tensors: Mapping[str, Tensor], known: Sequence[Score]) -> None:
        """The inverse of `state`; `known` are the scores of `self.known` at that time, in that order."""
        self._scores = {score.digest: score for score in known}
        self.generator.load_state_dict(under("generator.", tensors))
        self.inquisitor.restore(under("inquisitor.", tensors))
        for index, parameter in enumerate(self.generator.parameters()):
            moments = under(f"adam.{index}.", tensors)
            if moments:
                self._adam.state[parameter] = {k: v.clone() for k, v in moments.items()}
        multipliers = tensors["multipliers"].tolist()
        self.objective.multipliers = dict(zip(self.objective.multipliers, multipliers, strict=True))
        self.objective.transfer = float(tensors["transfer"])

    def _explore(self, number: int) -> list[Genome]:
        seeds = [_learning_seed(self.seed, number, SEEDS_A_CYCLE + i) for i in range(EXPLORERS_A_CYCLE)]
        random = torch.Generator().manual_seed(seeds[0])
        shift = EXPLORATION * torch.randn(EXPLORERS_A_CYCLE, self.generator.widths.out_features, generator=random)
        return self._draft(seeds, self.generator.conditions.draw(seeds), shift)

    def _draft(self, seeds: Sequence[int], demands: Sequence[Demand], shift: Tensor | float = 0.0) -> list[Genome]:
        """A genome for each pair of seed and demand."""
        with torch.no_grad():
            bounds = self.generator.conditions.bounds(demands)
            return self.generator.genomes(self.generator(self.generator.latents(seeds), bounds, shift))

    def _predict(self, genomes: Sequence[Genome]) -> Tensor | None:
        if METRIC not in self.inquisitor.knows:
            return None
        with torch.no_grad():
            return self.inquisitor.predict(METRIC, self.inquisitor.encode(genomes)).mean

    def _learn(self) -> None:
        known = list(self._scores.values())
        if not known:
            raise ToolError("not one network could be scored, so there is nothing to learn from; see the notes above")
        logits = torch.tensor([_logit(s.metric) for s in known])
        self.inquisitor.learn(METRIC, [s.genome for s in known], logits, sense=1)
        for requirement in self.generator.conditions.asked:
            told = [s for s in known if (s.on_target.get(requirement.key) or 0) > 0]
            if len(told) >= 2:
                values = torch.tensor([math.log(s.on_target[requirement.key] or 1) for s in told])
                sense = -1 if requirement.quantity == "inferences_per_joule" else 1
                self.inquisitor.learn(requirement.key, [s.genome for s in told], values, sense)

    def _step(self, number: int) -> None:
        """Δθ_G: gradient ascent through the inquisitor's model. No image is touched, so it costs next to nothing."""
        conditions, count = self.generator.conditions, DEMANDS_A_STEP * SEEDS_A_DEMAND
        for step in range(STEPS_A_CYCLE):
            seeds = [_learning_seed(self.seed, number, 1000 + step * count + i) for i in range(count)]
            demands = conditions.draw(seeds[::SEEDS_A_DEMAND])
            bounds = conditions.bounds(demands).repeat_interleave(SEEDS_A_DEMAND, dim=0)
            draft = self.generator(self.generator.latents(seeds), bounds)
            gain, violated = self.objective.gain(draft, bounds, DEMANDS_A_STEP, self.inquisitor)
            self._adam.zero_grad(set_to_none=True)
            (-gain).backward()  # type: ignore[no-untyped-call]
            self._adam.step()
            self.objective.ascend(violated)

    def _expected(self, score: Score) -> float:
        o = self.objective
        return float(finished_metric(torch.tensor(score.metric), o.prototype_scored, o.prototype_finished, o.transfer))

    def _summary(
        self, number: int, scores: Sequence[Score], demands: Sequence[Demand], predicted: Tensor | None
    ) -> Cycle:
        us = [performance(self.objective.performance, s.metric, s.params, s.macs) for s in scores]
        metrics = [score.metric for score in scores]
        rank = None
        if predicted is not None and len(set(metrics)) > 2:
            correlation = float(spearmanr(predicted.numpy(), metrics).statistic)
            rank = correlation if math.isfinite(correlation) else None
        return Cycle(
            cycle=number,
            mean_u=sum(us) / len(us),
            best_u=max(us),
            satisfied_share=sum(map(self.satisfied, scores, demands)) / len(scores),
            mean_macs=sum(score.macs for score in scores) / len(scores),
            mean_score=sum(metrics) / len(metrics),
            rank_correlation=rank,
        )


def values_of(score: Score, metric: float) -> dict[str, float | None]:
    """The quantities that requirements speak of, by key."""
    return dict.fromkeys(METRICS, metric) | {"macs": score.macs, "params": score.params} | score.on_target


def spread_genomes(generator: Generator, seed: int, number: int) -> list[Genome]:
    """Different genomes of a generator, under budgets of MACs spread evenly from small to large."""
    seeds = [_learning_seed(seed, -1, i) for i in range(4 * number)]
    random = torch.Generator().manual_seed(seeds[0])
    conditions = generator.conditions
    # Wider than the generator would have them: under a budget it is the greatest that fits.
    budgets = [[conditions.budget("macs", share)] for share in torch.linspace(0, 1, len(seeds)).tolist()]
    order = torch.randperm(len(seeds), generator=random).tolist()
    bounds = conditions.bounds([budgets[i] for i in order])
    with torch.no_grad():
        drafts = generator.genomes(generator(generator.latents(seeds), bounds, shift=WIDE))
    return list({digest(genome): genome for genome in drafts}.values())[:number]


def _learning_seed(seed: int, cycle: int, index: int) -> int:
    """Seeds to learn from: apart from the small numbers that people give to `generate`."""
    return 2**40 + seed_of(seed, cycle + 1, index) % 2**40


def _logit(metric: float) -> float:
    clipped = min(0.999, max(0.01, metric))
    return math.log(clipped / (1 - clipped))
