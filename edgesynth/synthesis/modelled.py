"""Latency and energy that requirements name, on targets that are models: computed with gradients, not learned."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from edgesynth_exporters.targets import Target, find_target
from torch import Tensor

from edgesynth.energy.constants import calibration_of
from edgesynth.errors import RequirementError
from edgesynth.records import Genome
from edgesynth.requirements import ON_TARGET, Requirement
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import allowed_widths, canonical, full_genome
from edgesynth.space.target_cost import TargetCost
from edgesynth.space.trace import Space

__all__ = ["Modelled", "modelled_targets"]

SLACK = 0.02
"""By how much the cost of the prototype may differ from the estimate of its file."""


class Modelled:
    """Differentiable figures of genomes by requirement key, on the targets of `costs`."""

    def __init__(self, costs: Mapping[str, TargetCost]) -> None:
        self._costs = dict(costs)

    def __call__(self, widths: Tensor, kept: Tensor, resolution: Tensor) -> dict[str, Tensor]:
        """(N,) each; arguments as those of `TargetCost`."""
        return _merged(_figures(target, *cost(widths, kept, resolution)) for target, cost in self._costs.items())

    def of(self, genomes: Sequence[Genome]) -> dict[str, Tensor]:
        """(N,) each, of whole genomes."""
        return _merged(_figures(target, *cost.of(genomes)) for target, cost in self._costs.items())


def _figures(target: str, latency_ms: Tensor, energy_mj: Tensor | None) -> dict[str, Tensor]:
    found = {f"latency_ms@{target}": latency_ms.float()}
    if energy_mj is not None:
        found |= {f"energy_mj@{target}": energy_mj.float(), f"inferences_per_joule@{target}": (1e3 / energy_mj).float()}
    return found


def _merged(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: value for part in parts for key, value in part.items()}


def modelled_targets(
    space: Space,
    costs: CostModel,
    requirements: Iterable[Requirement],
    prototype: Mapping[str, float],
    note: Callable[[str], None],
) -> Modelled:
    """For every model that requirements name. `prototype` holds the prototype's figures by requirement key, estimated
    from its file: a network whose traced graph costs something else is left to the inquisitor, and noted.

    Raises RequirementError for a bound that the cheapest genome of the space misses.
    """
    found = {}
    requirements = list(requirements)
    whole = full_genome(space.groups, space.blocks)
    for target in _models(requirements):
        cost = TargetCost.from_space(space, costs, calibration_of(target.name, target.constants))
        figures = Modelled({target.name: cost}).of([whole])
        wrong = [
            key
            for key, value in figures.items()
            if key in prototype and abs(float(value[0]) / prototype[key] - 1) > SLACK
        ]
        if wrong:
            note(f"{wrong[0]} is learned, not computed: the traced network and its file differ in their kernels")
        else:
            found[target.name] = cost
    modelled = Modelled(found)
    _check_reachable(modelled, space, requirements, prototype)
    return modelled


def _check_reachable(
    modelled: Modelled, space: Space, requirements: Iterable[Requirement], prototype: Mapping[str, float]
) -> None:
    """More of anything costs more, so the genome with the least of everything is the cheapest."""
    widths = {group.name: min(allowed_widths(group.channels)) for group in space.groups}
    kept = {block.name: False for block in space.blocks}
    least = [canonical(widths, kept, space.groups, space.blocks, size) for size in (None, *space.resolutions[1:])]
    figures = modelled.of(least)
    for requirement in requirements:
        cheaper = ">=" if requirement.quantity == "inferences_per_joule" else "<="
        if requirement.key not in figures or requirement.operator != cheaper:
            continue
        if requirement.relative and requirement.key not in prototype:
            continue
        reached = figures[requirement.key]
        best = float(reached.max() if cheaper == ">=" else reached.min())
        if not requirement.met(best, prototype.get(requirement.key)):
            was = f", the prototype has {prototype[requirement.key]:.4g}" if requirement.key in prototype else ""
            raise RequirementError(
                f"requirement '{requirement.text}' is out of reach: the cheapest network of this space is estimated at "
                f"{best:.4g}{was}; ask for less, or start from a prototype with more blocks that can be dropped"
            )


def _models(requirements: Iterable[Requirement]) -> list[Target]:
    names = dict.fromkeys(r.target for r in requirements if r.quantity in ON_TARGET and r.target is not None)
    return [target for target in map(find_target, names) if target.kind == "model"]
