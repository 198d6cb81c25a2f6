"""Shared weights: one set of parameters that serves every network of a space by slicing.

A network's parameters are gathered from the shared ones by the indices that surgery itself yields, so gradients flow
back into the shared set. Each step trains a few networks drawn from a pool that is spread over sizes, against the
prototype's outputs (compare Universally Slimmable Networks, arXiv 1903.05134: the sandwich rule with in-place
distillation; here the prototype itself is the teacher, so the largest network need not be run at all).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from edgesynth.data.source import Split
from edgesynth.records import Genome
from edgesynth.space.surgery import IndexMap, Ranking, materialise, source_indices
from edgesynth.space.trace import Space
from edgesynth.synthesis.training import (
    BATCH,
    DISTILLED,
    MOMENTUM,
    WEIGHT_DECAY,
    Teacher,
    batches,
    device,
    learning_rate,
    place,
    randomness,
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

    def __call__(self, shared: dict[str, nn.Parameter], images: Tensor) -> Tensor:
        sliced = {name: shared[name].flatten()[index] for name, index in self.indices.items() if name in shared}
        answers: Tensor = functional_call(self.skeleton, sliced, (images,))
        return answers


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

    Batch-norm statistics in it are the prototype's; a sliced network must measure its own (`recalibrate`).
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
                optimizer.zero_grad(set_to_none=True)
                images = images.to(where, memory_format=torch.channels_last)
                wanted = teacher.answers(indices, flipped).to(where)
                for choice in torch.randint(len(members), (NETWORKS_A_STEP,), generator=random).tolist():
                    answers = members[choice](shared, images)
                    loss = (1 - DISTILLED) * task.loss(answers, targets.to(where))
                    loss = loss + DISTILLED * task.distillation_loss(answers, wanted)
                    (loss / NETWORKS_A_STEP).backward()  # type: ignore[no-untyped-call]
                    total += float(loss.detach()) * len(targets) / NETWORKS_A_STEP
                # The networks of one step may disagree; without a bound a rare one throws all the others off.
                torch.nn.utils.clip_grad_norm_(shared.values(), max_norm=5.0)
                optimizer.step()
                step += 1
        on_epoch(epoch + 1, total / len(split))
    return {**state, **{name: parameter.detach().cpu() for name, parameter in shared.items()}}


def _member(space: Space, genome: Genome, ranking: Ranking, where: torch.device) -> _Member:
    skeleton = materialise(space, genome, ranking).train()
    place(skeleton, where, torch.channels_last)
    indices = source_indices(space, genome, ranking)
    parameters = dict(skeleton.named_parameters())
    return _Member(skeleton, {n: i.to(where) for n, i in indices.items() if n in parameters})
