"""What a generator is asked for: bounds on quantities, as an input of G(s, r), so that one generator serves many."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgesynth.errors import RunError
from edgesynth.requirements import METRICS, SIZES, Requirement
from edgesynth.space.cost import Costs
from edgesynth.synthesis.training import seed_of

__all__ = ["Conditions", "Demand", "column_of"]

Demand = Sequence[Requirement]
"""The requirements that one network is to meet."""

ALWAYS = ("macs<=", "params<=")
"""Every generator can be asked for these, whatever it was learned for."""
WIDEST = 32.0
"""Budgets of sizes are drawn down to the prototype's over this."""
ROOM = 1.3
"""… but not nearer to the least size of the space than by this factor: there is only one smallest network."""
AS_ASKED = 0.5
"""Share of the draws that are just the requirements of the run."""
UNASKED = {"macs<=": 0.7, "params<=": 0.25}
"""How often a draw bounds a size that the run does not."""
MOST_FALL = 0.02
"""Floors of a metric are drawn down to twice the run's own fall below the prototype and this."""
JITTER = 0.5
"""Bounds of what only targets can tell are drawn within e^±JITTER of the run's own."""


def column_of(requirement: Requirement) -> str:
    """Which input of the generator a requirement goes to: `macs<=`, `latency_ms@tx2<=`."""
    return requirement.key + requirement.operator


class Conditions:
    """The bounds that a generator understands, how they are drawn in learning, and how they become numbers.

    `asked` are the requirements of the run, `prototype` the prototype's values by key, `least` the sizes of the
    smallest network of the space.
    """

    def __init__(self, asked: Demand, prototype: Mapping[str, float], least: Mapping[str, float]) -> None:
        self.asked, self._prototype, self._least = tuple(asked), prototype, least
        self.columns = tuple(dict.fromkeys([*map(column_of, asked), *ALWAYS]))

    def check(self, demand: Demand) -> None:
        """Raise RunError where the generator has no input for what is asked."""
        for requirement in demand:
            if column_of(requirement) not in self.columns:
                raise RunError(
                    f"this generator was not learned for requirements such as '{requirement.text}', only for "
                    f"{', '.join(self.columns)}: start a run that names one"
                )

    def bounds(self, demands: Sequence[Demand]) -> Tensor:
        """(N, K) the bound on each column's quantity, the tightest if there are several; NaN where none is asked.

        In double precision: counts above 2^24 must not be rounded.
        """
        bounds = torch.full((len(demands), len(self.columns)), math.nan, dtype=torch.float64)
        for row, demand in zip(bounds, demands, strict=True):
            for requirement in demand:
                at = self.columns.index(column_of(requirement))
                bound, known = requirement.bound(self._prototype.get(requirement.key)), float(row[at])
                tightest = min if requirement.operator == "<=" else max
                row[at] = bound if math.isnan(known) else tightest(known, bound)
        return bounds

    def fits(self, demand: Demand, costs: Costs, slack: float = 1.0) -> bool:
        """Whether a network of these sizes, each divided by `slack`, meets what the demand says of sizes."""
        sizes = {key: value / slack for key, value in vars(costs).items()}
        return all(r.met(sizes[r.key], self._prototype.get(r.key)) is True for r in demand if r.key in sizes)

    def encode(self, bounds: Tensor) -> Tensor:
        """(N, 2K) for (N, K): each bound relative to the prototype, and whether it is there at all."""
        bounds, there = bounds.float(), ~bounds.isnan()
        columns = []
        for index, name in enumerate(self.columns):
            own = self._prototype.get(name[:-2], 1.0)
            if name[:-2] in METRICS:
                relative = 20 * (bounds[:, index] - own)
            else:
                relative = torch.log(bounds[:, index].clamp_min(1e-12) / max(own, 1e-12)) / 2
            columns.append(torch.where(there[:, index], relative.clamp(-3, 3), torch.zeros_like(relative)))
        return torch.cat([torch.stack(columns, dim=1), there.float()], dim=1)

    def draw(self, seeds: Sequence[int]) -> list[Demand]:
        """A demand for each seed: the run's own, or others like it with other bounds, for the generator to learn what
        bounds mean."""
        return [self._draw(torch.Generator().manual_seed(seed_of(seed, 1))) for seed in seeds]

    def budget(self, key: str, share: float) -> Requirement:
        """A bound on a size, `share` 0 … 1 of the way (in logarithms) from the least worth asking to the prototype."""
        full = self._prototype[key]
        least = min(full, max(ROOM * self._least[key], full / WIDEST))
        return _requirement(f"{key}<=", least * (full / least) ** share)

    def _draw(self, random: torch.Generator) -> Demand:
        def uniform() -> float:
            return float(torch.rand((), generator=random))

        if uniform() < AS_ASKED:
            return self.asked
        asked = {column_of(requirement): requirement for requirement in self.asked}
        drawn: list[Requirement] = []
        for name in self.columns:
            key = name[:-2]
            if name not in asked:
                if name in UNASKED and uniform() < UNASKED[name]:
                    drawn.append(self.budget(key, uniform()))
                continue
            own = asked[name].bound(self._prototype.get(key))
            if name in ALWAYS:
                drawn.append(self.budget(key, uniform()))
            elif key in METRICS and name.endswith(">="):
                fall = max(0.0, self._prototype[key] - own)
                drawn.append(_requirement(name, self._prototype[key] - uniform() * (2 * fall + MOST_FALL)))
            elif key.partition("@")[0] in METRICS | SIZES:
                drawn.append(asked[name])
            else:
                drawn.append(_requirement(name, own * math.exp(JITTER * (2 * uniform() - 1))))
        return drawn


def _requirement(column: str, bound: float) -> Requirement:
    key, operator = column[:-2], column[-2:]
    quantity, _, target = key.partition("@")
    return Requirement(
        text=f"{column}{bound:.6g}",
        quantity=quantity,
        target=target or None,
        operator="<=" if operator == "<=" else ">=",
        factor=0.0,
        offset=bound,
    )
