"""The inquisitor I(·; θ_I): learns from networks' responses how good a network is, and where the generator should go.

Its model of each quantity that cannot be computed (the metric; latency or energy on a target) is an ensemble of small
monotone networks: no width can grow and make the prediction of the metric fall. Features of a genome are, per group,
the share of channels kept and the share of the *response* kept: the Taylor scores of the kept channels over those of
all, as measured on the networks probed so far; and per droppable block whether it stays, weighed by the change that
it was seen to make to the residual stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesynth.records import BlockInfo, Genome, GroupInfo
from edgesynth.space.surgery import Ranking, kept_channels
from edgesynth.synthesis.probe import Responses
from edgesynth.synthesis.training import seed_of

__all__ = ["Evidence", "Inquisitor", "Prediction"]

MEMBERS = 5
HIDDEN = 16
FIT_STEPS = 250
FIT_RATE = 0.03
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
            scores = torch.tensor(response.taylor)
            kept = kept_channels(genome, self._ranking, name)
            known = self.channels[name]
            # Scores scale with the network's loss; only their proportions carry over, at the old total of the kept.
            scale = known[kept].sum() / scores.sum().clamp_min(1e-12)
            if scores.sum() > 0:
                known[kept] = SMOOTHING * known[kept] + (1 - SMOOTHING) * scale * scores
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
    """Mean and spread over the ensemble, in the scale that `Inquisitor` was taught in (N,)."""

    mean: Tensor
    spread: Tensor


class Inquisitor:
    """Models of every learned quantity, by name, over the genomes of one space."""

    def __init__(self, groups: Sequence[GroupInfo], blocks: Sequence[BlockInfo], evidence: Evidence, seed: int) -> None:
        self._groups, self._blocks, self.evidence, self._seed = tuple(groups), tuple(blocks), evidence, seed
        self._models: dict[str, _Ensemble] = {}
        homes = [[float(set(b.layers).issuperset(g.layers)) for b in blocks] for g in groups]
        self._homes = torch.tensor(homes).reshape(len(groups), len(blocks))

    def features(self, fractions: Tensor, kept: Tensor) -> Tensor:
        """(N, 2M + B) in [0, 1] and beyond, from width fractions (N, M) and kept blocks (N, B)."""
        # A group that lives in a dropped block is not there, whatever its width.
        alive = torch.where(self._homes > 0, kept[:, None, :], torch.ones_like(self._homes)).prod(dim=2)
        retained = self.evidence.retained(fractions)
        return torch.cat([fractions * alive, retained * alive, kept * self.evidence.block_weights()], dim=1)

    def encode(self, genomes: Sequence[Genome]) -> tuple[Tensor, Tensor]:
        """(fractions, kept) of whole genomes."""
        channels = torch.tensor([float(g.channels) for g in self._groups])
        widths = torch.tensor([[float(x.widths[g.name]) for g in self._groups] for x in genomes])
        kept = torch.tensor([[float(x.blocks[b.name]) for b in self._blocks] for x in genomes])
        return widths / channels, kept.reshape(len(genomes), len(self._blocks))

    def learn(self, name: str, genomes: Sequence[Genome], values: Tensor, sense: int) -> None:
        """Update θ_I on everything known of one quantity: `values` (N,) on any real scale.

        `sense` is +1 for a quantity that grows with the network (metric, latency), -1 for one that falls.
        """
        features = self.features(*self.encode(genomes)).detach()
        if name not in self._models:
            random = torch.Generator().manual_seed(seed_of(self._seed))
            self._models[name] = _Ensemble(features.shape[1], sense, random)
        # Each fit has its own draw, a function of what is known, so that a resumed run draws the same.
        self._models[name].fit(features, values, torch.Generator().manual_seed(seed_of(self._seed, len(values))))

    def predict(self, name: str, fractions: Tensor, kept: Tensor) -> Prediction:
        """What θ_I expects, with gradients in the genome."""
        answers = self._models[name](self.features(fractions, kept))
        return Prediction(answers.mean(dim=0), answers.std(dim=0))

    @property
    def knows(self) -> frozenset[str]:
        """Names of the quantities that were learned."""
        return frozenset(self._models)

    def state(self) -> dict[str, Tensor]:
        """θ_I and the evidence as tensors, for the journal."""
        tensors = {f"model.{n}.{k}": v for n, m in self._models.items() for k, v in m.state_dict().items()}
        tensors |= {f"sense.{n}": torch.tensor(m.sense) for n, m in self._models.items()}
        tensors |= {f"channels.{n}": v for n, v in self.evidence.channels.items()}
        return tensors | {f"change.{n}": torch.tensor(v, dtype=torch.float64) for n, v in self.evidence.changes.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for group in self._groups:
            self.evidence.channels[group.name] = tensors[f"channels.{group.name}"].clone()
        for block in self._blocks:
            self.evidence.changes[block.name] = float(tensors[f"change.{block.name}"])
        width = 2 * len(self._groups) + len(self._blocks)
        for key in [k for k in tensors if k.startswith("sense.")]:
            name = key.removeprefix("sense.")
            model = _Ensemble(width, int(tensors[key]), torch.Generator().manual_seed(self._seed))
            prefix = f"model.{name}."
            model.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
            self._models[name] = model


class _Ensemble(nn.Module):
    """MEMBERS monotone networks side by side: y = tanh(x W1 + b1) W2 + x w + b with W1, W2, w >= 0.

    Each member sees the data through its own random weights (Bayesian bootstrap), so their spread tells where the data
    is thin.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, features: int, sense: int, random: torch.Generator) -> None:
        super().__init__()
        self.sense = sense
        self.first = nn.Parameter(torch.randn(MEMBERS, features, HIDDEN, generator=random) - 2.5)
        self.bias = nn.Parameter(torch.randn(MEMBERS, 1, HIDDEN, generator=random))
        self.second = nn.Parameter(torch.randn(MEMBERS, HIDDEN, 1, generator=random) - 2.5)
        self.direct = nn.Parameter(torch.randn(MEMBERS, features, 1, generator=random) - 2.5)
        self.offset = nn.Parameter(torch.zeros(MEMBERS, 1, 1))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """(MEMBERS, N)."""
        return self.sense * (self.centre + self.scale * self._standard(features))

    def _standard(self, features: Tensor) -> Tensor:
        x = features.expand(MEMBERS, *features.shape)
        hidden = torch.tanh(x @ F.softplus(self.first) + self.bias)
        answers = hidden @ F.softplus(self.second) + x @ F.softplus(self.direct) + self.offset
        return answers.squeeze(-1)

    def fit(self, features: Tensor, values: Tensor, random: torch.Generator) -> None:
        """Full-batch Adam on the squared error, from where the parameters stand."""
        values = values.float() * self.sense
        self.centre, self.scale = values.mean(), values.std(correction=0).clamp_min(1e-6)
        standard = (values - self.centre) / self.scale
        shares = torch.rand(MEMBERS, len(values), generator=random).clamp_min(1e-6)
        weights = -shares.log()  # exponential variates: the Bayesian bootstrap
        optimizer = torch.optim.Adam(self.parameters(), lr=FIT_RATE)
        for _ in range(FIT_STEPS):
            loss = (weights * (self._standard(features) - standard) ** 2).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
