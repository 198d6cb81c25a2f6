"""edgesynth itself: its run of a seed has finished several networks for a budget."""

from typing import Any

from benchmarks.classification.contestants.base import Compressed, ContestantError
from benchmarks.classification.material import Material
from benchmarks.classification.run_of_edgesynth import Inheritance, inheritance
from edgesynth.records import Network
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace

__all__ = ["edgesynth", "edgesynth_first"]


def edgesynth(material: Material, budget: int) -> Compressed:
    """The one that is best on validation images. Its test accuracy has no part in the choice."""
    left = inheritance(material)
    small = _within(left, material, budget)
    best = max(small, key=lambda network: network.val_metric)
    return _compressed(left, material, best, left.spent[f"finishing macs{budget}"])


def edgesynth_first(material: Material, budget: int) -> Compressed:
    """The one that scored best before anything was finished: no choice between finished networks, as for all others.

    It is charged its share of the finishing.
    """
    left = inheritance(material)
    small = _within(left, material, budget)
    chosen = [network for network in small if network.cycle is None]
    if not chosen:
        raise ContestantError("it has finished its pilot network only")
    return _compressed(left, material, chosen[0], left.spent[f"finishing macs{budget}"] / len(chosen))


def _within(left: Inheritance, material: Material, budget: int) -> list[Network]:
    small = [network for network in left.networks[budget] if network.macs <= material.limit(budget)]
    if not small:
        raise ContestantError(f"none of its networks has at most {material.limit(budget):,} MACs")
    return small


def _told(network: Network) -> dict[str, Any]:
    return network.model_dump(include={"name", "cycle", "val_metric", "test_metric", "macs", "params", "scores"})


def _compressed(left: Inheritance, material: Material, network: Network, finishing_cpu_s: float) -> Compressed:
    # Its accuracies are known, so its weights are not needed.
    space = trace(material.prototype, material.example)
    module = materialise(space, network.genome, identity_ranking(space.groups))
    return Compressed(
        module,
        left.search_cpu_s,
        genome=network.genome,
        finished=network,
        finished_cpu_s=round(finishing_cpu_s, 2),
        environment=left.environment,
        details={
            "evaluations": left.evaluations,
            "learning_cpu_s": left.learning_cpu_s,
            "name": network.name,
            "finished": {str(asked): [_told(n) for n in networks] for asked, networks in left.networks.items()},
        },
    )
