"""Choosing which of the generator's networks to finish, and learning from how they came out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from edgesynth.records import Genome, Network
from edgesynth.space.genome import digest
from edgesynth.synthesis.insight import predicted_metrics
from edgesynth.synthesis.loop import Learner, ScoreMany
from edgesynth.synthesis.scoring import Score
from edgesynth.synthesis.settling import Order

__all__ = ["Candidate", "Selection", "transfer_factor"]

DRAWN = 256
SCORED_A_NETWORK = 4
PRIOR = 0.25
LEAST_FALL = 0.01
LEAST_TRANSFER, GREATEST_TRANSFER = 0.05, 1.5
WALKS = 8
"""Stretches of DRAWN seeds that are looked through for further networks before giving up."""
LEAST_DISTANCE = 0.02
"""Mean difference in shares of channels and blocks below which two networks count as the same idea."""


@dataclass(frozen=True)
class Candidate:
    """A network of the generator that has been scored. `predicted` is the score that the inquisitor expected."""

    seed: int
    score: Score
    predicted: float


Settle = Callable[[int, Sequence[Score], Order], list[Score]]
"""Scores of candidates, of those that the order would put first with what boards say. The number is the first seed."""


def _as_they_are(_: int, scores: Sequence[Score], __: Order) -> list[Score]:
    return list(scores)


@dataclass
class Selection:
    """Candidates in the order in which they should be finished.

    The generator's seeds are screened by what costs nothing (sizes, the inquisitor's prediction), the best of them
    scored and settled, and handed out one by one: each time the best by what is known then, and unlike those handed out
    before.
    """

    learner: Learner
    score: ScoreMany
    first_seed: int
    count: int
    taken: list[Genome] = field(default_factory=list)
    settle: Settle = _as_they_are

    def __iter__(self) -> Iterator[Candidate]:
        for walk in range(WALKS):
            pool = self._scored(self.first_seed + walk * DRAWN)
            while pool:
                pool.sort(key=lambda candidate: (*self._rank(candidate.score), candidate.seed))
                fresh = next((c for c in pool if self._is_new(c.score.genome)), None)
                if fresh is None:
                    break
                pool.remove(fresh)
                self.taken.append(fresh.score.genome)
                yield fresh

    def _scored(self, first_seed: int) -> list[Candidate]:
        seeds = list(range(first_seed, first_seed + DRAWN))
        drawn: dict[str, tuple[int, Genome]] = {}
        genomes = self.learner.generator.generate(seeds, self.learner.objective.demand)
        for seed, genome in zip(seeds, genomes, strict=True):
            if self._fits(genome) and self._is_new(genome):
                drawn.setdefault(digest(genome), (seed, genome))
        if not drawn:
            return []
        best = sorted(self._promise(list(drawn.values())), key=lambda entry: (entry[0], entry[1]))
        chosen = [(seed, genome) for _, seed, genome in best[: SCORED_A_NETWORK * self.count]]
        scores = self.score([genome for _, genome in chosen])
        expected = predicted_metrics(self.learner.inquisitor, [genome for _, genome in chosen])
        pool = [
            Candidate(seed, score, predicted)
            for (seed, _), score, predicted in zip(chosen, scores, expected, strict=True)
            if score.failure is None
        ]
        known = self.settle(first_seed, [candidate.score for candidate in pool], self._order)
        return [replace(candidate, score=score) for candidate, score in zip(pool, known, strict=True)]

    def _fits(self, genome: Genome) -> bool:
        """Whether the genome meets the requirements that can be computed."""
        objective = self.learner.objective
        return objective.conditions.fits(objective.demand, objective.costs.of(genome))

    def _promise(self, drawn: Sequence[tuple[int, Genome]]) -> list[tuple[float, int, Genome]]:
        """(order, seed, genome): lowest first; no violation expected comes first, then the greatest U."""
        inquisitor, objective = self.learner.inquisitor, self.learner.objective
        with torch.no_grad():
            code = inquisitor.encode([genome for _, genome in drawn])
            estimates = objective.estimate(code, self.learner.generator.channels, inquisitor)
            bounds = objective.conditions.bounds([objective.demand] * len(drawn))
            violations = objective.violations(estimates, bounds)
        worst = torch.stack([v.clamp_min(0) for v in violations.values()]).sum(0) if violations else 0 * estimates.u
        order = (1000 * worst - estimates.u).tolist()
        return [(o, seed, genome) for o, (seed, genome) in zip(order, drawn, strict=True)]

    def _order(self, scores: Sequence[Score]) -> list[int]:
        return sorted(range(len(scores)), key=lambda index: self._rank(scores[index]))

    def _rank(self, score: Score) -> tuple[float, float]:
        return self.learner.shortfall(score), -self.learner.expected_u(score)

    def _is_new(self, genome: Genome) -> bool:
        if not self.taken:
            return True
        codes = torch.cat(self.learner.inquisitor.encode([genome, *self.taken]), dim=1)
        return bool((codes[1:] - codes[0]).abs().mean(dim=1).min() >= LEAST_DISTANCE)


def transfer_factor(
    finished: Sequence[tuple[Score, Network]], prototype_scored: float, prototype_finished: float
) -> float:
    """How much of a scored fall below the prototype is left after finishing: the mean ratio over finished networks.

    Knowing nothing, all of it; that prior weighs as much as PRIOR networks. A network that scores like the prototype
    says nothing about falls, and is left out.
    """
    ratios = []
    for score, network in finished:
        scored_fall = prototype_scored - score.metric
        if scored_fall >= LEAST_FALL:
            ratio = (prototype_finished - network.val_metric) / scored_fall
            ratios.append(min(GREATEST_TRANSFER, max(0.0, ratio)))
    return max(LEAST_TRANSFER, (PRIOR + sum(ratios)) / (PRIOR + len(ratios)))
