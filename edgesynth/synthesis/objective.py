"""What the generator is asked to maximise: U under the requirements, as a differentiable function of its drafts.

    E_s[ Û(G(s)) ] − Σ_r λ_r · E_s[ violation_r(G(s))⁺ ] + β · log min(D, D*)

Û is NetScore with the inquisitor's prediction of the finished metric in place of the metric. The multipliers λ_r rise
while a requirement is met by fewer than SATISFIED of the seeds and fall otherwise (dual ascent). D is the mean
pairwise distance of the genomes in a batch: it keeps seeds from collapsing onto one network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesynth.performance import LEAST_METRIC, netscore_terms
from edgesynth.requirements import METRICS, Requirement
from edgesynth.space.cost import CostModel
from edgesynth.synthesis.generator import Draft
from edgesynth.synthesis.inquisitor import Inquisitor

__all__ = ["METRIC", "Estimates", "Objective", "finished_metric"]

METRIC = "metric"
"""The inquisitor's name for the scored metric; it is learned on the logit scale."""

CAUTION = 1.0
"""Standard errors that are taken off a prediction: trust only what is known."""

SATISFIED = 0.9
DUAL_RATE = 0.05
LEAST_MULTIPLIER, GREATEST_MULTIPLIER = 0.1, 1e4
DIVERSITY, WANTED_SPREAD = 10.0, 0.12
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
    """The objective of one run. `prototype` holds the prototype's values by requirement key; `transfer` is learned."""

    requirements: Sequence[Requirement]
    prototype: Mapping[str, float]
    prototype_scored: float
    prototype_finished: float
    costs: CostModel
    transfer: float = 1.0

    def __post_init__(self) -> None:
        self.multipliers = {r.text: 1.0 for r in self.requirements}

    def estimate(self, draft: Draft, inquisitor: Inquisitor) -> Estimates:
        """What the inquisitor and the cost model expect of the drafts."""
        params, macs = (x.float() for x in self.costs(draft.widths.double(), draft.kept.double()))
        prediction = inquisitor.predict(METRIC, draft.fractions, draft.kept)
        scored = torch.sigmoid(prediction.mean - CAUTION * prediction.spread)
        metric = finished_metric(scored, self.prototype_scored, self.prototype_finished, self.transfer)
        # Only U needs a positive metric; a violation must keep its gradient wherever the estimate goes.
        u = netscore_terms(100 * metric.clamp_min(LEAST_METRIC), params / 1e6, macs / 1e9, torch.log10)
        values = {"macs": macs, "params": params} | dict.fromkeys(METRICS, metric)
        for key in inquisitor.knows - {METRIC}:
            values[key] = inquisitor.predict(key, draft.fractions, draft.kept).mean.exp()
        return Estimates(metric, u, values)

    def violations(self, estimates: Estimates) -> dict[str, Tensor]:
        """Per requirement (N,): how far each draft is on the wrong side, <= 0 where it is met."""
        answers = {}
        for requirement in self.requirements:
            # A quantity that nobody could tell so far cannot steer; it is judged when the network is measured.
            if requirement.key not in estimates.values:
                continue
            value = estimates.values[requirement.key]
            bound = requirement.bound(self.prototype.get(requirement.key))
            if requirement.operator == ">=" and bound <= 0:
                continue  # every network meets it, and it has no logarithm
            gap = bound - value if requirement.quantity in METRICS else torch.log(bound / value)
            answers[requirement.text] = POINT * gap * (1.0 if requirement.operator == ">=" else -1.0)
        return answers

    def gain(self, draft: Draft, inquisitor: Inquisitor) -> tuple[Tensor, dict[str, float]]:
        """The scalar to maximise, and the share of drafts that violates each requirement."""
        estimates = self.estimate(draft, inquisitor)
        spread = torch.log((_spread(draft) + 1e-4).clamp_max(WANTED_SPREAD))
        total = estimates.u.mean() + DIVERSITY * spread
        violated = {}
        for text, violation in self.violations(estimates).items():
            total = total - self.multipliers[text] * violation.clamp_min(0).mean()
            violated[text] = float((violation > 0).float().mean())
        return total, violated

    def ascend(self, violated: Mapping[str, float]) -> None:
        """One step of dual ascent on the multipliers."""
        for text, share in violated.items():
            factor = torch.exp(torch.tensor(DUAL_RATE * (share - (1 - SATISFIED)))).item()
            self.multipliers[text] = min(GREATEST_MULTIPLIER, max(LEAST_MULTIPLIER, self.multipliers[text] * factor))


def _spread(draft: Draft) -> Tensor:
    """Mean pairwise distance of the batch's genomes: mean absolute difference over groups and blocks.

    Taken before rounding: among genomes that round to the same one there is nothing left to follow.
    """
    distances = (draft.exact[:, None, :] - draft.exact[None, :, :]).abs().mean(dim=2)
    count = len(draft.exact)
    return distances.sum() / max(1, count * (count - 1))
