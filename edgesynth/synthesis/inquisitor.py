"""The inquisitor I(·; θ_I): learns from networks' responses how good a network is, and where the generator should go.

Its model of each quantity that cannot be computed (the metric; latency or energy on a target) is an ensemble of
monotone additive models: no width can grow and make the prediction of the metric fall. Features of a genome are, per
group, the share of channels kept on three scales (linear, logarithmic, inverse: thin layers hurt more per channel than
wide ones) and the share of the *response* kept: the Taylor scores of the kept channels over those of all, as measured
on the networks probed so far; per droppable block whether it stays, weighed by the change that it was seen to make
to the residual stream; per resolution whether the network has at least that one; and the logarithms of MACs and
parameters, since what a channel is worth depends on all the others. With a few hundred scores at most, such a model
ranks better than a neural network does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from edgesynth.records import BlockInfo, Genome, GroupInfo
from edgesynth.space.cost import CostModel
from edgesynth.space.surgery import Ranking, kept_channels
from edgesynth.synthesis.generator import Code, homes_of, living
from edgesynth.synthesis.probe import Responses
from edgesynth.synthesis.training import seed_of

__all__ = ["Evidence", "Inquisitor", "Prediction"]

MEMBERS = 8
RIDGE = 0.1
"""Weight of the squared coefficients beside the mean squared error of standardised values."""
HALF_LIFE, LEAST_WEIGHT = 96, 0.1
"""Later networks are nearer to where the generator is: every so many scores, an earlier one counts half."""
LEAST_SHARE, THIN = 1 / 64, 1 / 8
"""Shares below these look alike on the logarithmic and on the inverse scale."""
LEAST_SIZE = 1 / 256
"""Likewise MACs and parameters below this share of the prototype's."""
SMOOTHING = 0.9
"""Weight of what was known of a channel before, when one more network with that channel is probed."""


class Evidence:
    """Responses gathered so far: a Taylor score per channel of every group, a stream change per block."""

    def __init__(self, groups: Sequence[GroupInfo], blocks: Sequence[BlockInfo], ranking: Ranking) -> None:
        self._groups, self._blocks, self._ranking = tuple(groups), tuple(blocks), ranking
        self.channels = {g.name: torch.ones(g.channels) / g.channels for g in groups}
        self.changes = {b.name: 1.0 for b in blocks}

    def add(self, genome: Genome, responses: Responses) -> None:
        """Take the responses of one more network into account."""
        for name, response in responses.groups.items():
            scores = torch.tensor(response.taylor, dtype=torch.float64)
            kept = kept_channels(genome, self._ranking, name)
            known = self.channels[name]
            # Scores scale with the network's loss; only their proportions carry over, at the old total of the kept.
            if scores.sum() > 0:
                shares = (scores / scores.sum()).float()
                known[kept] = SMOOTHING * known[kept] + (1 - SMOOTHING) * known[kept].sum() * shares
        for name, change in responses.blocks.items():
            self.changes[name] = SMOOTHING * self.changes[name] + (1 - SMOOTHING) * change

    def retained(self, fractions: Tensor) -> Tensor:
        """Share of each group's response kept (N, M), for width fractions (N, M): piecewise linear, so it has
        gradients between whole channels."""
        columns = []
        for index, group in enumerate(self._groups):
            scores = self.channels[group.name][self._ranking[group.name]]
            curve = torch.cat([torch.zeros(1), scores.cumsum(0)]) / scores.sum().clamp_min(1e-12)
            position = fractions[:, index] * group.channels
            below = position.detach().floor().clamp(0, group.channels - 1).long()
            columns.append(curve[below] + (position - below) * (curve[below + 1] - curve[below]))
        return torch.stack(columns, dim=1)

    def block_weights(self) -> Tensor:
        """(B,) relative importance of the blocks, mean 1."""
        changes = torch.tensor([self.changes[b.name] for b in self._blocks])
        return changes / changes.mean().clamp_min(1e-12) if len(changes) else changes


@dataclass(frozen=True)
class Prediction:
    """Mean and standard error in the scale that `Inquisitor` was taught in (N,): where the data is thin the members of
    the ensemble disagree, and where the model is wrong it leaves residuals; both count."""

    mean: Tensor
    spread: Tensor


class Inquisitor:
    """Models of every learned quantity, by name, over the genomes of one space."""

    def __init__(
        self,
        groups: Sequence[GroupInfo],
        blocks: Sequence[BlockInfo],
        costs: CostModel,
        evidence: Evidence,
        seed: int,
    ) -> None:
        self._groups, self._blocks, self._costs = tuple(groups), tuple(blocks), costs
        self.evidence, self._seed = evidence, seed
        self._models: dict[str, _Ensemble] = {}
        self._homes = homes_of(groups, blocks)
        self._channels = torch.tensor([float(g.channels) for g in groups])
        self._full = self._sizes(self.whole)

    @property
    def whole(self) -> Code:
        """The prototype itself, as a batch of one."""
        groups, blocks = torch.ones(1, len(self._groups)), torch.ones(1, len(self._blocks))
        return Code(groups, blocks, torch.eye(len(self._costs.resolutions))[:1])

    def features(self, code: Code) -> Tensor:
        """(N, 4M + B + R + 1), each growing with the genome."""
        fractions, kept, resolution = code
        alive = living(kept, self._homes)
        share = fractions.clamp_min(LEAST_SHARE)
        logarithmic = 1 - torch.log(share) / math.log(LEAST_SHARE)
        inverse = 1 - (1 / fractions.clamp_min(THIN) - 1) / (1 / THIN - 1)
        retained = self.evidence.retained(fractions)
        scales = [scale * alive for scale in (fractions, logarithmic, inverse, retained)]
        # Resolutions fall, so their running sums say "at least this one"; the last is always 1.
        at_least = resolution.cumsum(dim=1)[:, :-1]
        sizes = (self._sizes(code) - self._full) / -math.log(LEAST_SIZE)
        return torch.cat([*scales, kept * self.evidence.block_weights(), at_least, 1 + sizes.clamp_min(-1)], dim=1)

    def encode(self, genomes: Sequence[Genome]) -> Code:
        """Whole genomes as numbers."""
        widths = torch.tensor([[float(x.widths[g.name]) for g in self._groups] for x in genomes])
        kept = torch.tensor([[float(x.blocks[b.name]) for b in self._blocks] for x in genomes])
        sizes = self._costs.resolutions
        choice = torch.tensor([[float(size == (x.resolution or sizes[0])) for size in sizes] for x in genomes])
        return Code(widths / self._channels, kept.reshape(len(genomes), len(self._blocks)), choice)

    def learn(self, name: str, genomes: Sequence[Genome], values: Tensor, sense: int) -> None:
        """Update θ_I on everything known of one quantity: `values` (N,) on any real scale.

        `sense` is +1 for a quantity that grows with the network (metric, latency), -1 for one that falls.
        """
        features = self.features(self.encode(genomes)).detach()
        # Each fit has its own draw, a function of what is known, so that a resumed run draws the same.
        random = torch.Generator().manual_seed(seed_of(self._seed, len(values)))
        self._models[name] = _fit(features, values, sense, random)

    def predict(self, name: str, code: Code) -> Prediction:
        """What θ_I expects, with gradients in the genome."""
        return self._models[name](self.features(code))

    @property
    def knows(self) -> frozenset[str]:
        """Names of the quantities that were learned."""
        return frozenset(self._models)

    def state(self) -> dict[str, Tensor]:
        """θ_I and the evidence as tensors, for the journal."""
        tensors = {f"weights.{name}": model.weights for name, model in self._models.items()}
        tensors |= {f"residual.{name}": model.residual for name, model in self._models.items()}
        tensors |= {f"channels.{n}": v for n, v in self.evidence.channels.items()}
        return tensors | {f"change.{n}": torch.tensor(v, dtype=torch.float64) for n, v in self.evidence.changes.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for group in self._groups:
            self.evidence.channels[group.name] = tensors[f"channels.{group.name}"].clone()
        for block in self._blocks:
            self.evidence.changes[block.name] = float(tensors[f"change.{block.name}"])
        names = [key.removeprefix("weights.") for key in tensors if key.startswith("weights.")]
        self._models = {name: _Ensemble(tensors[f"weights.{name}"], tensors[f"residual.{name}"]) for name in names}

    def _sizes(self, code: Code) -> Tensor:
        """(N, 2) logarithms of parameters and MACs."""
        widths = (code.fractions * self._channels).double()
        sizes = self._costs(widths, code.kept.double(), code.resolution.double())
        return torch.log(torch.stack(sizes, dim=1).clamp_min(1.0)).float()


@dataclass(frozen=True)
class _Ensemble:
    """MEMBERS linear models side by side: `weights` (P + 1, MEMBERS), the last row the offset; `residual` () is the
    root mean square of what they leave unexplained."""

    weights: Tensor
    residual: Tensor

    def members(self, features: Tensor) -> Tensor:
        """What each of them says (N, MEMBERS)."""
        return features @ self.weights[:-1] + self.weights[-1]

    def __call__(self, features: Tensor) -> Prediction:
        answers = self.members(features)
        # The root of an exact 0 has no gradient.
        return Prediction(answers.mean(dim=1), (answers.var(dim=1) + self.residual**2 + 1e-12).sqrt())


def _fit(features: Tensor, values: Tensor, sense: int, random: torch.Generator) -> _Ensemble:
    """Non-negative ridge regression, once for each member.

    Each member sees the data through its own random weights (the Bayesian bootstrap), so their spread tells where the
    data is thin. The problem is convex: the same data always gives the same θ_I.
    """
    y = sense * values.double().numpy()
    centre, scale = y.mean(), max(float(y.std()), 1e-6)
    x = np.hstack([features.double().numpy(), np.ones((len(y), 1)), -np.ones((len(y), 1))])
    columns = x.shape[1] - 2
    ridge = np.hstack([np.eye(columns), np.zeros((columns, 2))]) * np.sqrt(RIDGE)
    shares = torch.rand(MEMBERS, len(y), generator=random, dtype=torch.float64).clamp_min(1e-6)
    age = np.arange(len(y))[::-1]
    recent = np.maximum(0.5 ** (age / HALF_LIFE), LEAST_WEIGHT)
    weights = np.sqrt(-np.log(shares.numpy()) * recent)  # exponential variates; the root, as both sides get squared
    members = []
    for weight in weights:
        left = np.vstack([x * weight[:, None], ridge])
        right = np.concatenate([(y - centre) / scale * weight, np.zeros(columns)])
        found, _ = nnls(left, right)
        members.append(np.append(found[:-2], found[-2] - found[-1]))
    standard = np.stack(members, axis=1)
    residual = (y - centre) / scale - (x[:, :-1] @ standard).mean(axis=1)
    standard[:-1] *= scale
    standard[-1] = standard[-1] * scale + centre
    error = scale * float(np.sqrt(np.average(residual**2, weights=recent)))
    return _Ensemble(torch.from_numpy(sense * standard).float(), torch.tensor(error).float())
