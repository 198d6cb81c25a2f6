"""Shared weights: one set of parameters that serves every network of a space by slicing.

A network's parameters are gathered from the shared ones by the indices that surgery itself yields, and its gradients
are added back at the same places. Each step trains a few networks drawn from a pool that is spread over sizes,
against the prototype's outputs (compare Universally Slimmable Networks, arXiv 1903.05134: the sandwich rule with
in-place distillation; here the prototype itself is the teacher, so the largest network need not be run at all).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from edgesynth.data.source import Split
from edgesynth.errors import ToolError
from edgesynth.records import Genome
from edgesynth.space.surgery import IndexMap, Ranking, materialise, source_indices
from edgesynth.space.trace import Space
from edgesynth.synthesis.compute import as_float32, autocast, device, layout_of, place, precision, randomness
from edgesynth.synthesis.training import (
    BATCH,
    DISTILLED,
    MOMENTUM,
    WEIGHT_DECAY,
    Teacher,
    batches,
    learning_rate,
    seed_of,
)
from edgesynth.tasks import Task

__all__ = ["train_shared"]

NETWORKS_A_STEP = 2
PEAK_LR = 0.05


@dataclass(frozen=True)
class _Member:
    """One network of the pool: its modules, and where each of its parameters lies in the shared ones."""

    skeleton: fx.GraphModule
    indices: IndexMap
    layout: torch.memory_format

    def backward(
        self, shared: Mapping[str, nn.Parameter], images: Tensor, loss_of: Callable[[Tensor], Tensor]
    ) -> float:
        """Run the network with sliced parameters, add the gradient of its loss to that of the shared ones; the loss."""
        sliced = {name: self._slice(shared[name], index) for name, index in self.indices.items()}
        with autocast(images.device):
            answers = functional_call(self.skeleton, sliced, (images.to(memory_format=self.layout),))
        loss = loss_of(as_float32(answers))
        loss.backward()  # type: ignore[no-untyped-call]
        for name, index in self.indices.items():
            gradient, mine = shared[name].grad, sliced[name].grad
            if gradient is not None and mine is not None:
                gradient.view(-1).index_add_(0, index.flatten(), mine.reshape(-1))
        return float(loss.detach())

    def _slice(self, parameter: nn.Parameter, index: Tensor) -> Tensor:
        part = parameter.detach().flatten()[index]
        if part.dim() == 4:
            part = part.contiguous(memory_format=self.layout)
        return part.requires_grad_()


def train_shared(
    space: Space,
    ranking: Ranking,
    pool: Sequence[Genome],
    task: Task,
    split: Split,
    teacher: Teacher,
    *,
    epochs: int,
    seed: int,
    mirror: bool,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> dict[str, Tensor]:
    """A state dict of the prototype's shape, from which every network of the space can be sliced.

    Batch-norm statistics in it are the prototype's; a sliced network must measure its own (`recalibrate`). Raises
    ToolError where the loss is no longer finite.
    """
    where = device()
    state = space.module.state_dict()
    shared = {name: nn.Parameter(p.detach().clone().to(where)) for name, p in space.module.named_parameters()}
    members = [_member(space, genome, ranking, where) for genome in pool]
    optimizer = torch.optim.SGD(
        shared.values(), lr=PEAK_LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    random = torch.Generator().manual_seed(seed_of(seed, 0))
    steps, step = epochs * ceil(len(split) / BATCH), 0
    for epoch in range(epochs):
        total = 0.0
        with randomness(seed_of(seed, 1, epoch), where):
            for images, targets, indices, flipped in batches(split, task, seed_of(seed, 1, epoch), mirror):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, steps, PEAK_LR)
                for parameter in shared.values():
                    parameter.grad = torch.zeros_like(parameter)
                images, targets = images.to(where), targets.to(where)
                wanted = teacher.answers(indices, flipped).to(where)

                def loss_of(answers: Tensor, targets: Tensor = targets, wanted: Tensor = wanted) -> Tensor:
                    loss = (1 - DISTILLED) * task.loss(answers, targets)
                    return (loss + DISTILLED * task.distillation_loss(answers, wanted)) / NETWORKS_A_STEP

                for choice in torch.randint(len(members), (NETWORKS_A_STEP,), generator=random).tolist():
                    total += members[choice].backward(shared, images, loss_of) * len(targets)
                # The networks of one step may disagree; without a bound a rare one throws all the others off.
                torch.nn.utils.clip_grad_norm_(shared.values(), max_norm=5.0)
                optimizer.step()
                step += 1
        if not math.isfinite(total):
            raise ToolError(
                f"the weights that all candidates share have diverged in epoch {epoch + 1}: look for images or "
                "prototype weights that are not finite, or start from other weights"
            )
        on_epoch(epoch + 1, total / len(split))
    return {**state, **{name: parameter.detach().cpu() for name, parameter in shared.items()}}


def _member(space: Space, genome: Genome, ranking: Ranking, where: torch.device) -> _Member:
    skeleton = materialise(space, genome, ranking).train()
    layout = layout_of(skeleton, precision(where))
    place(skeleton, where, layout)
    indices = source_indices(space, genome, ranking)
    parameters = dict(skeleton.named_parameters())
    return _Member(skeleton, {n: i.to(where) for n, i in indices.items() if n in parameters}, layout)
