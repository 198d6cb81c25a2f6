"""The generator G(s; θ_G): from a seed to a genome, differentiable in θ_G."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgesynth.records import BlockInfo, Genome, GroupInfo
from edgesynth.space.genome import allowed_widths, canonical, width_step
from edgesynth.synthesis.training import seed_of

__all__ = ["Draft", "Generator", "latents"]

LATENT = 16
HIDDEN = 64


@dataclass(frozen=True)
class Draft:
    """A batch of genomes as the generator sees them, with gradients.

    `widths` (N, M) in channels and `kept` (N, B) in {0, 1} hold the rounded values; their gradients are those of the
    values before rounding (straight-through), which `exact` (N, M + B) holds as shares. `channels` (M,) turns widths
    into fractions.
    """

    widths: Tensor
    kept: Tensor
    exact: Tensor
    channels: Tensor

    @property
    def fractions(self) -> Tensor:
        """Widths as shares of the prototype's, in (0, 1]."""
        return self.widths / self.channels


def latents(seeds: Sequence[int], blocks: int) -> tuple[Tensor, Tensor]:
    """The random part of each seed: z (N, LATENT) normal, and logistic noise (N, B) for keeping blocks."""
    normal, logistic = [], []
    for seed in seeds:
        random = torch.Generator().manual_seed(seed_of(seed))
        normal.append(torch.randn(LATENT, generator=random))
        uniform = torch.rand(blocks, generator=random).clamp(1e-6, 1 - 1e-6)
        logistic.append(torch.log(uniform) - torch.log1p(-uniform))
    return torch.stack(normal), torch.stack(logistic)


class Generator(nn.Module):
    """A multilayer perceptron from z to one logit per channel group and one per droppable block.

    Width: the share σ(logit) of the way from the least width to the full one, rounded to an allowed width.
    Block: kept where its logit plus the seed's logistic noise is positive, i.e. with probability σ(logit) over seeds
    (binary concrete, arXiv 1611.00712, made hard by a straight-through estimator).
    """

    def __init__(self, groups: Sequence[GroupInfo], blocks: Sequence[BlockInfo], seed: int) -> None:
        super().__init__()
        self._groups, self._blocks = tuple(groups), tuple(blocks)
        random = torch.Generator().manual_seed(seed_of(seed))
        first, second = _linear(LATENT, HIDDEN), _linear(HIDDEN, HIDDEN)
        self.body = nn.Sequential(first, nn.Tanh(), second, nn.Tanh())
        self.widths = _linear(HIDDEN, len(groups))
        self.keeps = _linear(HIDDEN, len(blocks))
        for layer in (first, second, self.widths, self.keeps):
            nn.init.normal_(layer.weight, std=1.5 / layer.in_features**0.5, generator=random)
            nn.init.zeros_(layer.bias)
        # Most blocks stay at first: a network without depth teaches little.
        nn.init.constant_(self.keeps.bias, 1.0)
        self.channels = torch.tensor([float(g.channels) for g in groups])
        self._least = torch.tensor([float(allowed_widths(g.channels)[0]) for g in groups])
        self._step = torch.tensor([float(width_step(g.channels)) for g in groups])

    def forward(self, normal: Tensor, logistic: Tensor, shift: Tensor | float = 0.0) -> Draft:
        """Genomes for latents z (N, LATENT) and block noise (N, B); `shift` is added to every width logit."""
        hidden = self.body(normal)
        share = torch.sigmoid(self.widths(hidden) + shift)
        exact = self._least + (self.channels - self._least) * share
        rounded = torch.minimum((exact / self._step).round() * self._step, self.channels)
        # The full width is allowed even where it is no multiple of the step.
        rounded = torch.where(exact > self.channels - self._step / 2, self.channels, rounded)
        probability = torch.sigmoid(self.keeps(hidden) + logistic)
        hard = (probability > 0.5).float()
        return Draft(
            widths=exact + (rounded - exact).detach(),
            kept=probability + (hard - probability).detach(),
            exact=torch.cat([exact / self.channels, probability], dim=1),
            channels=self.channels,
        )

    def genomes(self, draft: Draft) -> list[Genome]:
        """The drafts as canonical genomes."""
        return [
            canonical(
                {g.name: round(w) for g, w in zip(self._groups, widths, strict=True)},
                {b.name: k > 0.5 for b, k in zip(self._blocks, kept, strict=True)},
                self._groups,
                self._blocks,
            )
            for widths, kept in zip(draft.widths.tolist(), draft.kept.tolist(), strict=True)
        ]

    @torch.no_grad()
    def generate(self, seeds: Sequence[int]) -> list[Genome]:
        """G(s) for each seed: the same seed and θ_G always give the same genome."""
        return self.genomes(self(*latents(seeds, len(self._blocks))))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """Not yet initialised: torch's own way would draw from the global generator."""
    with warnings.catch_warnings():
        # A prototype without blocks has a layer without outputs, and torch thinks that odd.
        warnings.simplefilter("ignore")
        layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    return layer
