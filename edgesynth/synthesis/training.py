"""The one training recipe: prototypes, FermiNets and controls are all trained by this."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, cos, pi
from pathlib import Path

import torch
from torch import Tensor, nn

from edgesynth.data.source import Split
from edgesynth.synthesis.compute import as_float32, autocast, device, layout_of, place, precision, randomness
from edgesynth.synthesis.storage import load_checkpoint, save_checkpoint
from edgesynth.tasks import Task

__all__ = [
    "Recipe",
    "Teacher",
    "learning_rate",
    "outputs",
    "recalibrate",
    "seed_of",
    "train",
]

BATCH = 128
EVALUATION_BATCH = 500
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
WARM_UP = 0.2
"""Share of the steps over which the learning rate rises; afterwards it falls along a cosine to 0."""
DISTILLED = 0.7
"""Weight of the teacher's answers in the loss; the rest goes to the labels."""


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum 0.9, weight decay 5e-4, batches of 128, warm-up and cosine, mirrored images where
    the data allows it."""

    epochs: int
    peak_lr: float = 0.1


@dataclass(frozen=True)
class Teacher:
    """A teacher's outputs for each training image: as it stands (N, …), and mirrored (None where never mirrored).

    They are computed once, so distillation costs nothing per epoch.
    """

    plain: Tensor
    mirrored: Tensor | None = None

    @classmethod
    def of(cls, module: nn.Module, task: Task, split: Split, mirror: bool) -> "Teacher":
        everything = torch.ones(len(split), dtype=torch.bool)
        mirrored = task.flip(split.images, split.targets, everything)[0] if mirror else None
        with autocast(device()):
            return cls(outputs(module, split.images), None if mirrored is None else outputs(module, mirrored))

    def tensors(self) -> dict[str, Tensor]:
        """By the names of the fields, those that there are."""
        return {"plain": self.plain} | ({} if self.mirrored is None else {"mirrored": self.mirrored})

    def first(self, count: int) -> "Teacher":
        """Copies of the answers for the first images alone."""
        return Teacher(**{name: tensor[:count].clone() for name, tensor in self.tensors().items()})

    def answers(self, indices: Tensor, flipped: Tensor) -> Tensor:
        plain = self.plain[indices]
        if self.mirrored is None:
            return plain
        return torch.where(flipped.view(-1, *[1] * (plain.dim() - 1)), self.mirrored[indices], plain)


def seed_of(*parts: int) -> int:
    """One seed out of several numbers, so that each use of randomness has its own."""
    state = 0
    for part in parts:
        state = (state * 1_000_003 + part + 1) % (2**63 - 1)
    return state


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear rise over the first WARM_UP of the steps, then half a cosine down to 0."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + cos(pi * (step - rise) / max(1, steps - rise)))


def train(
    module: nn.Module,
    task: Task,
    split: Split,
    recipe: Recipe,
    *,
    seed: int,
    mirror: bool,
    teacher: Teacher | None = None,
    checkpoint: Path | None = None,
    look: Callable[[int, nn.Module], None] = lambda epoch, module: None,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> None:
    """Train in place; the module comes back on the CPU in eval mode.

    Deterministic for a seed on one machine, also when it was interrupted and found its `checkpoint` (written after
    every epoch, removed by the caller). `look(done, module)` is called after each epoch before its checkpoint is
    written, and must leave the module as it is; `on_epoch(done, mean loss)` after that.
    """
    where = device()
    layout = layout_of(module, precision(where))
    place(module, where, layout)
    optimizer = torch.optim.SGD(
        module.parameters(), lr=recipe.peak_lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    steps = recipe.epochs * ceil(len(split) / BATCH)
    training = (seed, recipe.epochs, len(split))
    start = load_checkpoint(checkpoint, module, optimizer, training) if checkpoint is not None else 0
    step = start * ceil(len(split) / BATCH)
    for epoch in range(start, recipe.epochs):
        module.train()
        total = 0.0
        with randomness(seed_of(seed, epoch), where):
            for images, targets, indices, flipped in batches(split, task, seed_of(seed, epoch), mirror):
                for parameters in optimizer.param_groups:
                    parameters["lr"] = learning_rate(step, steps, recipe.peak_lr)
                with autocast(where):
                    answers = module(images.to(where, memory_format=layout))
                answers = as_float32(answers)
                loss = task.loss(answers, targets.to(where))
                if teacher is not None:
                    wanted = teacher.answers(indices, flipped).to(where)
                    loss = (1 - DISTILLED) * loss + DISTILLED * task.distillation_loss(answers, wanted)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += float(loss.detach()) * len(targets)
                step += 1
        look(epoch + 1, module)
        if checkpoint is not None:
            save_checkpoint(checkpoint, module, optimizer, epoch + 1, training)
        on_epoch(epoch + 1, total / len(split))
    place(module, torch.device("cpu"), torch.contiguous_format)
    module.eval()


def batches(split: Split, task: Task, seed: int, mirror: bool) -> "Batches":
    """(images, targets, indices, which were mirrored) in an order fixed by the seed, every image once."""
    return Batches(split, task, seed, mirror)


class Batches:
    """Iterable over one epoch."""

    def __init__(self, split: Split, task: Task, seed: int, mirror: bool) -> None:
        self._split, self._task = split, task
        random = torch.Generator().manual_seed(seed)
        self._order = torch.randperm(len(split), generator=random)
        self._flipped = (torch.rand(len(split), generator=random) < 0.5) & mirror

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        for indices, flipped in zip(_parts(self._order), _parts(self._flipped), strict=True):
            images, targets = self._split.images[indices], self._split.targets[indices]
            images, targets = self._task.flip(images, targets, flipped)
            yield images, targets, indices, flipped


def _parts(whole: Tensor) -> list[Tensor]:
    """Batches of BATCH; one image left over joins the last, as batch norm cannot do with one."""
    parts = list(torch.split(whole, BATCH))
    return [*parts[:-2], torch.cat(parts[-2:])] if len(parts) > 1 and len(parts[-1]) == 1 else parts


@torch.no_grad()
def outputs(module: nn.Module, images: Tensor) -> Tensor:
    """What the module answers to images (N, C, H, W), in eval mode, on the CPU."""
    where = device()
    was_training = module.training
    module.to(where).eval()
    try:
        return torch.cat([module(part.to(where)).float().cpu() for part in torch.split(images, EVALUATION_BATCH)])
    finally:
        module.cpu().train(was_training)


@torch.no_grad()
def recalibrate(module: nn.Module, images: Tensor) -> None:
    """Measure batch-norm statistics anew on these images (N, C, H, W), in place; nothing else changes.

    Sliced networks need it before any score means something (EagleEye, arXiv 2007.02491).
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in norms]
    where = device()
    module.to(where).eval()
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    for part in torch.split(images, BATCH):
        # One image alone has no variance.
        if len(part) > 1:
            module(part.to(where))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    module.cpu().eval()
