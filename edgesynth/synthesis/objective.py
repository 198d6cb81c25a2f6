"""What the generator is asked to maximise: U under the requirements, as a differentiable function of its drafts.

    E_s,r[ Û(G(s, r)) − Σ_q λ_q · violation_q(G(s, r), r)⁺ ] + β · E_r[ 1(D_r < D*) · log D̃_r ]

Û is U with the inquisitor's prediction of the finished metric in place of the metric. The multipliers λ_q, one for each
bounded quantity, rise while its bound is met by fewer than SATISFIED of the drafts and fall otherwise (dual ascent).
D_r is the mean pairwise distance of the genomes that are drawn under one demand r, D̃_r the same before rounding: it
keeps seeds from collapsing onto one network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgesynth.performance import LEAST_METRIC, performance_terms
from edgesynth.requirements import METRICS
from edgesynth.space.cost import CostModel
from edgesynth.synthesis.conditions import Conditions, Demand
from edgesynth.synthesis.generator import Code, Draft
from edgesynth.synthesis.inquisitor import Inquisitor
from edgesynth.synthesis.modelled import Modelled

__all__ = ["METRIC", "Estimates", "Objective", "finished_metric"]

METRIC = "metric"
"""The inquisitor's name for the scored metric; it is learned on the logit scale."""

CAUTION = 1.0
"""Standard errors that are taken off a prediction: trust only what is known."""

SATISFIED = 0.9
DUAL_RATE = 0.05
LEAST_MULTIPLIER, GREATEST_MULTIPLIER = 0.1, 1e3
GREATEST_METRIC_MULTIPLIER = 30.0
"""A floor of the metric may be out of reach of a budget that was drawn: it must not outweigh the budget then."""
DIVERSITY, WANTED_SPREAD = 10.0, 0.15
"""Below the wanted spread of genomes the pull apart is strong, above it there is none."""
POINT = 100.0
"""Violations count in percentage points of a metric, and in POINT-ths of a natural logarithm of everything else."""


@dataclass(frozen=True)
class Estimates:
    """Differentiable estimates for a batch of drafts (N,): the finished metric (cautious), U, and every quantity that
    a requirement names, by key."""

    metric: Tensor
    u: Tensor
    values: dict[str, Tensor]


def finished_metric(scored: Tensor, prototype_scored: float, prototype_finished: float, transfer: float) -> Tensor:
    """The metric to expect after finishing, from the metric scored with shared weights.

    The scored fall below the prototype, times `transfer`: a factor learned from finished networks.
    """
    return prototype_finished - transfer * (prototype_scored - scored)


@dataclass
class Objective:
    """The objective of one run. `prototype` holds the prototype's values by requirement key; `demand` is what networks
    are wanted for in the end; `transfer` is learned; `performance` names U. What `modelled` computes is not learned."""

    demand: Demand
    prototype: Mapping[str, float]
    prototype_scored: float
    prototype_finished: float
    costs: CostModel
    conditions: Conditions
    performance: str = "netscore"
    transfer: float = 1.0
    modelled: Modelled = field(default_factory=lambda: Modelled({}))

    def __post_init__(self) -> None:
        self.multipliers = dict.fromkeys(self.conditions.columns, 1.0)

    def estimate(self, code: Code, channels: Tensor, inquisitor: Inquisitor) -> Estimates:
        """What the inquisitor and the cost model expect of genomes; `channels` (M,) are the prototype's widths."""
        widths = (code.fractions * channels).double()
        genomes = (widths, code.kept.double(), code.resolution.double())
        params, macs = (x.float() for x in self.costs(*genomes))
        prediction = inquisitor.predict(METRIC, code)
        scored = torch.sigmoid(prediction.mean - CAUTION * prediction.spread)
        metric = finished_metric(scored, self.prototype_scored, self.prototype_finished, self.transfer)
        # Only U needs a positive metric; a violation must keep its gradient wherever the estimate goes.
        u = performance_terms(self.performance, metric.clamp_min(LEAST_METRIC), params, macs, torch.log10)
        values = {"macs": macs, "params": params} | dict.fromkeys(METRICS, metric)
        for key in inquisitor.knows - {METRIC}:
            values[key] = inquisitor.predict(key, code).mean.exp()
        values |= self.modelled(*genomes)
        return Estimates(metric, u, values)

    def violations(self, estimates: Estimates, bounds: Tensor) -> dict[str, Tensor]:
        """Per column (N,): how far each draft is on the wrong side of its bound, <= 0 where it is met or none is asked.

        `bounds` (N, K) as `Conditions.bounds` gives them.
        """
        answers = {}
        for index, column in enumerate(self.conditions.columns):
            key, operator = column[:-2], column[-2:]
            # A quantity that nobody could tell so far cannot steer; it is judged when the network is measured.
            if key not in estimates.values:
                continue
            value, bound = estimates.values[key], bounds[:, index].float()
            asked = ~bound.isnan()
            if key in METRICS:
                gap = bound.nan_to_num(0.0) - value
            else:
                # A floor of 0 or less has no logarithm, and every network meets it.
                asked = asked & (bound > 0)
                gap = torch.log(torch.where(asked, bound, torch.ones_like(bound))) - torch.log(value.clamp_min(1e-12))
            violation = POINT * gap * (1.0 if operator == ">=" else -1.0)
            answers[column] = torch.where(asked, violation, torch.full_like(violation, -POINT))
        return answers

    def gain(
        self, draft: Draft, bounds: Tensor, demands: int, inquisitor: Inquisitor
    ) -> tuple[Tensor, dict[str, float]]:
        """The scalar to maximise, and the share of drafts that violates each column of the run's own demand.

        The drafts stand demand by demand, as many for each of the `demands`. Under a demand that was drawn a bound may
        be out of reach, which says nothing about its price; where only such were drawn, no share is told.
        """
        estimates = self.estimate(draft.code, draft.channels, inquisitor)
        total = estimates.u.mean() + DIVERSITY * self._pull_apart(draft, demands)
        own = self.conditions.bounds([self.demand])
        asked = ((bounds == own) | (bounds.isnan() & own.isnan())).all(dim=1)
        violated = {}
        for column, violation in self.violations(estimates, bounds).items():
            total = total - self.multipliers[column] * violation.clamp_min(0).mean()
            if asked.any():
                violated[column] = float((violation[asked] > 0).float().mean())
        return total, violated

    def _pull_apart(self, draft: Draft, demands: int) -> Tensor:
        """The logarithm of the spread, for those demands whose whole genomes are too much alike.

        Whether they are is told after rounding, which way is apart before it: among genomes that round to the same one
        there is nothing left to follow. The widths of groups that are not there set no networks apart.
        """
        alive, groups = draft.alive.detach(), len(draft.channels)
        fractions, kept, resolution = draft.code
        alike = _spread(torch.cat([fractions * alive, kept, resolution], dim=1).detach(), demands) < WANTED_SPREAD
        exact = torch.cat([draft.exact[:, :groups] * alive, draft.exact[:, groups:]], dim=1)
        return (torch.log(_spread(exact, demands) + 1e-4) * alike).mean()

    def ascend(self, violated: Mapping[str, float]) -> None:
        """One step of dual ascent on the multipliers."""
        for column, share in violated.items():
            factor = torch.exp(torch.tensor(DUAL_RATE * (share - (1 - SATISFIED)))).item()
            greatest = GREATEST_METRIC_MULTIPLIER if column[:-2] in METRICS else GREATEST_MULTIPLIER
            self.multipliers[column] = min(greatest, max(LEAST_MULTIPLIER, self.multipliers[column] * factor))


def _spread(codes: Tensor, demands: int) -> Tensor:
    """(demands,) mean pairwise distance of the genomes of each: mean absolute difference over groups, blocks and
    resolutions."""
    of_one = codes.reshape(demands, -1, codes.shape[1])
    distances = (of_one[:, :, None, :] - of_one[:, None, :, :]).abs().mean(dim=3)
    count = of_one.shape[1]
    return distances.sum(dim=(1, 2)) / max(1, count * (count - 1))
