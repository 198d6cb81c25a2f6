"""Latency and energy that requirements name, on targets that are models: computed with gradients, not learned."""

from collections.abc import Callable, Iterable, Mapping

from edgesynth_exporters.targets import Target, find_target
from torch import Tensor

from edgesynth.energy.constants import calibration_of
from edgesynth.requirements import ON_TARGET, Requirement
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import full_genome
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
        values: dict[str, Tensor] = {}
        for target, cost in self._costs.items():
            latency_ms, energy_mj = cost(widths, kept, resolution)
            values[f"latency_ms@{target}"] = latency_ms.float()
            if energy_mj is not None:
                values[f"energy_mj@{target}"] = energy_mj.float()
                values[f"inferences_per_joule@{target}"] = (1e3 / energy_mj).float()
        return values


def modelled_targets(
    space: Space,
    costs: CostModel,
    requirements: Iterable[Requirement],
    prototype: Mapping[str, float],
    note: Callable[[str], None],
) -> Modelled:
    """For every model that requirements name. `prototype` holds the prototype's figures by requirement key, estimated
    from its file: a network whose traced graph costs something else is left to the inquisitor, and noted."""
    found = {}
    whole = full_genome(space.groups, space.blocks)
    for target in _models(requirements):
        cost = TargetCost.from_space(space, costs, calibration_of(target.name, target.constants))
        figures = Modelled({target.name: cost})(*cost.code([whole]))
        wrong = [
            key
            for key, value in figures.items()
            if key in prototype and abs(float(value[0]) / prototype[key] - 1) > SLACK
        ]
        if wrong:
            note(f"{wrong[0]} is learned, not computed: the traced network and its file differ in their kernels")
        else:
            found[target.name] = cost
    return Modelled(found)


def _models(requirements: Iterable[Requirement]) -> list[Target]:
    names = dict.fromkeys(r.target for r in requirements if r.quantity in ON_TARGET and r.target is not None)
    return [target for target in map(find_target, names) if target.kind == "model"]
