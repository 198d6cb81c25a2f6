"""Searches over edgesynth's own space, with its own shared weights and score: what its learned generator must beat."""

from collections import deque
from typing import Any

from benchmarks.classification.cells import Cell
from benchmarks.classification.contestants.base import Compressed
from benchmarks.classification.contestants.genes import Genes, Nursery
from benchmarks.classification.material import Material

__all__ = ["evolution", "random_first"]


def random_first(material: Material, budget: int) -> Compressed:
    """No search at all: the first network drawn."""
    nursery = Nursery.of(material, Cell("random", budget, material.seed))
    return _made(nursery, next(nursery.draw()), {"evaluations": 0})


def evolution(material: Material, budget: int) -> Compressed:
    """Regularised evolution (Real, Aggarwal, Huang, Le 2018, arXiv 1802.01548): of a sample of the population the
    best is changed in one gene, and the oldest dies.

    The budget is a hard constraint, fitness is the score; only networks not seen before count as evaluations.
    """
    settings = material.protocol.settings["evolution"]
    nursery = Nursery.of(material, Cell("evolution", budget, material.seed))
    population: deque[tuple[float, Genes]] = deque(maxlen=settings["population"])
    scored: dict[str, tuple[float, Genes]] = {}
    drawn = nursery.draw()
    while len(scored) < nursery.left.evaluations:
        if len(population) < settings["population"]:
            child = next(drawn)
        else:
            sample = nursery.randomness.sample(list(population), settings["sample"])
            child = nursery.mutant(max(sample, key=lambda member: member[0])[1])
        member = nursery.score(child), child
        scored[nursery.key(child)] = member
        population.append(member)
    score, genes = max(scored.values(), key=lambda member: member[0])
    return _made(nursery, genes, {"evaluations": len(scored), "score": score})


def _made(nursery: Nursery, genes: Genes, details: dict[str, Any]) -> Compressed:
    shared_cpu_s = nursery.left.spent["shared"]
    return Compressed(
        nursery.network(genes),
        round(shared_cpu_s + nursery.scores.cpu_s, 2),
        genome=nursery.genome(genes),
        details={
            **details,
            "shared_weights_cpu_s": shared_cpu_s,
            "shared_weights_environment": dict(nursery.left.environment),
        },
    )
