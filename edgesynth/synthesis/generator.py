"""The generator G(s, r; θ_G): from a seed and the bounds that are asked for to a genome, differentiable in θ_G."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgesynth.records import BlockInfo, Genome, GroupInfo
from edgesynth.space.cost import CostModel
from edgesynth.space.genome import allowed_widths, canonical, width_step
from edgesynth.synthesis.conditions import Conditions, Demand
from edgesynth.synthesis.training import seed_of

__all__ = ["Code", "Draft", "Generator", "Latents", "homes_of", "latents", "living"]

LATENT = 16
HIDDEN = 64
LOWEST_SHIFT = -16.0
"""A shift of all width logits by this makes every width the least there is."""
HALVINGS = 14
MOST_CERTAIN = 2.5
"""Bound of the logits of choices: each stays open to about one seed in twelve, or all seeds would end in one network,
from where no gradient leads away."""
UNBOUNDED = -50.0
"""Logarithm of size over bound where there is no bound."""


class Code(NamedTuple):
    """Genomes as numbers: widths as shares of the prototype's (N, M), kept blocks (N, B), and a one at the resolution
    (N, R)."""

    fractions: Tensor
    kept: Tensor
    resolution: Tensor


@dataclass(frozen=True)
class Draft:
    """A batch of genomes as the generator sees them, with gradients.

    `widths` (N, M) in channels, `kept` (N, B) and `resolution` (N, R) in {0, 1} hold the rounded values; their
    gradients are those of the values before rounding (straight-through), which `exact` (N, M + B + R) holds as shares.
    `channels` (M,) turns widths into fractions. `alive` (N, M) is 0 for groups that live in a dropped block: their
    widths make no difference.
    """

    widths: Tensor
    kept: Tensor
    resolution: Tensor
    exact: Tensor
    channels: Tensor
    alive: Tensor

    @property
    def code(self) -> Code:
        """The rounded values as shares."""
        return Code(self.widths / self.channels, self.kept, self.resolution)


class Latents(NamedTuple):
    """The random part of each seed: z (N, LATENT) normal, logistic noise (N, B) for keeping blocks, Gumbel noise (N, R)
    for choosing a resolution."""

    normal: Tensor
    logistic: Tensor
    gumbel: Tensor


def latents(seeds: Sequence[int], blocks: int, resolutions: int) -> Latents:
    """The same seed always gives the same numbers, whatever the others are."""
    rows = []
    for seed in seeds:
        random = torch.Generator().manual_seed(seed_of(seed))
        normal = torch.randn(LATENT, generator=random)
        uniform = torch.rand(blocks, generator=random).clamp(1e-6, 1 - 1e-6)
        choice = torch.rand(resolutions, generator=random).clamp(1e-6, 1 - 1e-6)
        rows.append((normal, torch.log(uniform) - torch.log1p(-uniform), -torch.log(-torch.log(choice))))
    normals, logistics, gumbels = zip(*rows, strict=True)
    return Latents(torch.stack(normals), torch.stack(logistics), torch.stack(gumbels))


def homes_of(groups: Sequence[GroupInfo], blocks: Sequence[BlockInfo]) -> Tensor:
    """(M, B): 1 where all layers of a group are in the block, so that the group is gone when the block is dropped."""
    homes = [[float(set(b.layers).issuperset(g.layers)) for b in blocks] for g in groups]
    return torch.tensor(homes).reshape(len(groups), len(blocks))


def living(kept: Tensor, homes: Tensor) -> Tensor:
    """(N, M) for blocks kept (N, B): 1 for the groups that are there, with gradients in `kept`."""
    return torch.where(homes > 0, kept[:, None, :], torch.ones_like(homes)).prod(dim=2)


class Generator(nn.Module):
    """A multilayer perceptron from z and the bounds to one logit per channel group, per block and per resolution.

    Width: the share σ(logit) of the way from the least width to the full one, rounded to an allowed width.
    Block: kept where its logit plus the seed's logistic noise is positive, i.e. with probability σ(logit) over seeds
    (binary concrete, arXiv 1611.00712, made hard by a straight-through estimator). Resolution: the greatest of logit
    plus Gumbel noise, straight-through as well (arXiv 1611.01144).
    Sizes need no learning: where MACs or parameters exceed their bounds, all width logits of the draft are shifted down
    until they fit, and gradients follow that shift, so what is learned is how to spend a budget, not to keep it. Where
    no widths would do, blocks are dropped and the image made smaller first, the least certain of these choices first.
    """

    def __init__(
        self,
        groups: Sequence[GroupInfo],
        blocks: Sequence[BlockInfo],
        costs: CostModel,
        conditions: Conditions,
        seed: int,
    ) -> None:
        super().__init__()
        self.groups, self.blocks = tuple(groups), tuple(blocks)
        self.costs, self.conditions = costs, conditions
        random = torch.Generator().manual_seed(seed_of(seed))
        first, second = _Linear(LATENT + 2 * len(conditions.columns), HIDDEN), _Linear(HIDDEN, HIDDEN)
        self.body = nn.Sequential(first, nn.Tanh(), second, nn.Tanh())
        self.widths = _Linear(HIDDEN, len(groups))
        self.keeps = _Linear(HIDDEN, len(blocks))
        self.resolutions = _Linear(HIDDEN, len(costs.resolutions))
        for layer in (first, second, self.widths, self.keeps, self.resolutions):
            nn.init.normal_(layer.weight, std=1.5 / layer.in_features**0.5, generator=random)
            nn.init.zeros_(layer.bias)
        # Most blocks and the full resolution stay at first: a network that has lost both teaches little.
        nn.init.constant_(self.keeps.bias, 1.0)
        with torch.no_grad():
            self.resolutions.bias[0] = 1.0
        self.channels = torch.tensor([float(g.channels) for g in groups])
        self._homes = homes_of(groups, blocks)
        self._least = torch.tensor([float(allowed_widths(g.channels)[0]) for g in groups])
        self._step = torch.tensor([float(width_step(g.channels)) for g in groups])

    def latents(self, seeds: Sequence[int]) -> Latents:
        """Those of the seeds, for this space."""
        return latents(seeds, len(self.blocks), len(self.costs.resolutions))

    def forward(self, noise: Latents, bounds: Tensor, shift: Tensor | float = 0.0) -> Draft:
        """Genomes for latents and bounds (N, K; NaN: none); `shift` is added to the width logits."""
        hidden = self.body(torch.cat([noise.normal, self.conditions.encode(bounds)], dim=1))
        keeping = _bounded(self.keeps(hidden)) + noise.logistic
        choosing = _bounded(self.resolutions(hidden)) + noise.gumbel
        stays, best = self._affordable(keeping.detach(), choosing.detach(), bounds)
        probability, choice = torch.sigmoid(keeping), torch.softmax(choosing, dim=1)
        kept, resolution = _straight_through(probability, stays), _straight_through(choice, best)
        logits = self.widths(hidden) + shift
        logits = logits + self._fitting_shift(logits, kept, resolution, bounds)
        exact = self._exact(logits)
        return Draft(
            widths=self._rounded(exact),
            kept=kept,
            resolution=resolution,
            exact=torch.cat([exact / self.channels, probability, choice], dim=1),
            channels=self.channels,
            alive=living(kept, self._homes),
        )

    def genomes(self, draft: Draft) -> list[Genome]:
        """The drafts as canonical genomes."""
        sizes = [None, *self.costs.resolutions[1:]]
        rows = zip(draft.widths.tolist(), draft.kept.tolist(), draft.resolution.argmax(dim=1).tolist(), strict=True)
        return [
            canonical(
                {g.name: round(w) for g, w in zip(self.groups, widths, strict=True)},
                {b.name: k > 0.5 for b, k in zip(self.blocks, kept, strict=True)},
                self.groups,
                self.blocks,
                sizes[choice],
            )
            for widths, kept, choice in rows
        ]

    @torch.no_grad()
    def generate(self, seeds: Sequence[int], demand: Demand | None = None) -> list[Genome]:
        """G(s, r) for each seed: the same seed, demand and θ_G always give the same genome.

        Without a demand, r are the requirements that the generator was learned for.
        """
        asked = self.conditions.asked if demand is None else demand
        return self.genomes(self(self.latents(seeds), self.conditions.bounds([asked] * len(seeds))))

    def _exact(self, logits: Tensor) -> Tensor:
        return self._least + (self.channels - self._least) * torch.sigmoid(logits)

    def _rounded(self, exact: Tensor) -> Tensor:
        rounded = torch.minimum((exact / self._step).round() * self._step, self.channels)
        # The full width is allowed even where it is no multiple of the step.
        rounded = torch.where(exact > self.channels - self._step / 2, self.channels, rounded)
        return _straight_through(exact, rounded)

    @torch.no_grad()
    def _affordable(self, keeping: Tensor, choosing: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
        """Blocks (N, B) and resolutions (N, R), as zeros and ones, with which the least widths fit their bounds.

        Those that `keeping` (N, B) and `choosing` (N, R), logits and noise together, decide for, as far as they can be
        afforded; otherwise the decision that was nearest to going the other way does so, until all fits.
        """
        kept, chosen = (keeping > 0).float(), choosing.argmax(dim=1)
        places = torch.arange(choosing.shape[1])

        def one_hot() -> Tensor:
            return (places == chosen[:, None]).float()

        for _ in range(keeping.shape[1] + len(places) - 1):
            over = self._over(self._least.expand(len(kept), -1), kept, one_hot(), bounds) > 0
            if not over.any():
                break
            smaller = choosing.masked_fill(places <= chosen[:, None], -math.inf).max(dim=1)
            price = choosing.gather(1, chosen[:, None])[:, 0] - smaller.values
            # The size of the image is no matter for parameters.
            price = price.masked_fill(~over[:, 0], math.inf)[:, None]
            prices = torch.cat([keeping.masked_fill(kept == 0, math.inf), price], dim=1)
            least = prices.min(dim=1)
            turned = (over.any(dim=1) & least.values.isfinite())[:, None] & (
                torch.arange(prices.shape[1]) == least.indices[:, None]
            )
            kept = kept.masked_fill(turned[:, :-1], 0.0)
            chosen = torch.where(turned[:, -1], smaller.indices, chosen)
        return kept, one_hot()

    def _fitting_shift(self, logits: Tensor, kept: Tensor, resolution: Tensor, bounds: Tensor) -> Tensor:
        """(N, 1) at most 0: by how much all width logits of a draft must fall for its sizes to fit their bounds.

        Found by halving; its gradient is that of the implicit function excess(logits + shift, kept, resolution) = 0.
        A draft that does not fit even at its least widths is left there, without a gradient.
        """

        def excess(shift: Tensor) -> Tensor:
            """The worst of its sizes."""
            return self._over(self._rounded(self._exact(logits + shift)), kept, resolution, bounds).amax(dim=1)

        with torch.no_grad():
            high = torch.zeros_like(logits[:, :1])
            over = excess(high) > 0
            low = LOWEST_SHIFT - logits.amax(dim=1, keepdim=True).clamp_min(0)
            hopeless = excess(low) > 0
            if not over.any():
                return high
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                fits = (excess(middle) <= 0)[:, None]
                low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
            shift = torch.where(over[:, None], low, torch.zeros_like(low))
        if not torch.is_grad_enabled():
            return shift
        at = shift.clone().requires_grad_()
        (slope,) = torch.autograd.grad(excess(at).sum(), at, retain_graph=True)
        value = excess(shift)[:, None]
        moves = (over & ~hopeless)[:, None] & (slope > 1e-3)
        correction = ((value - value.detach()) / slope.clamp_min(1e-3)).float()
        return shift - torch.where(moves, correction, torch.zeros_like(correction))

    def _over(self, widths: Tensor, kept: Tensor, resolution: Tensor, bounds: Tensor) -> Tensor:
        """(N, 2) logarithms of MACs and of parameters over their bounds; at most 0 where they fit or none is asked."""
        params, macs = self.costs(widths.double(), kept.double(), resolution.double())
        ratios = []
        for name, size in (("macs<=", macs), ("params<=", params)):
            bound = bounds[:, self.conditions.columns.index(name)].double()
            # As much slack as a verdict gives (Requirement.violation): bounds such as prototype/4 are rarely whole.
            ratio = torch.log(size) - torch.log(bound.nan_to_num(1.0).clamp_min(1.0)) - 1e-9
            ratios.append(torch.where(bound.isnan(), torch.full_like(ratio, UNBOUNDED), ratio))
        return torch.stack(ratios, dim=1)


def _bounded(logits: Tensor) -> Tensor:
    """Logits within ±MOST_CERTAIN."""
    return MOST_CERTAIN * torch.tanh(logits / MOST_CERTAIN)


def _straight_through(soft: Tensor, hard: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    # In this order the second term is exactly 0.
    return hard.detach() + (soft - soft.detach())


class _Linear(nn.Linear):
    """Not yet initialised: torch's own way would draw from the global generator. Its `skip_init` does the same by way
    of another device, for which it imports a tenth of itself."""

    def reset_parameters(self) -> None:
        """Left to whoever makes it."""
