"""Training one candidate: the part of finishing that any machine can do."""

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import Tensor, nn

from edgesynth.data.source import Split
from edgesynth.space.surgery import Ranking, materialise
from edgesynth.space.trace import Space
from edgesynth.synthesis.compute import place
from edgesynth.synthesis.scoring import Score
from edgesynth.synthesis.storage import to_bytes, write_json
from edgesynth.synthesis.training import Recipe, Teacher, outputs, recalibrate, seed_of, train
from edgesynth.tasks import Task

__all__ = ["Finetuned", "Finetuning", "Unusable", "name_of"]

SHORT = 4
"""The short training of the rung of that name is the first so-many-th part of the epochs."""


@dataclass(frozen=True)
class Finetuned:
    """A trained network: its weights as the bytes of a safetensors file, its metric on the validation split, and
    `Network.scores`."""

    weights: bytes
    metric: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Unusable:
    """Why training came to nothing."""

    reason: str


@dataclass(frozen=True)
class Finetuning:
    """Inherit weights, measure batch norm on `calibration`, distil for so many epochs. A pure function of a score: the
    same wherever it is computed, also when it was interrupted and finds its checkpoint.

    `checkpoints` is a folder on the machine that computes, None for none. `on_epoch(name, done, loss)` hears of
    epochs; it stays behind when the rest is pickled, and nobody hears of them then.
    """

    space: Space
    ranking: Ranking
    shared: Mapping[str, Tensor]
    task: Task
    train: Split
    calibration: Tensor
    scoring: Split
    val: Split
    teacher: Teacher
    mirror: bool
    epochs: int
    seed: int
    checkpoints: Path | None
    on_epoch: Callable[[str, int, float], None] | None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "on_epoch": None}

    def __call__(self, score: Score) -> Finetuned | Unusable:
        module = materialise(self.space, score.genome, self.ranking, self.shared)
        scores = {"shared": self._scored(module), "adapted": score.metric}
        recalibrate(module, self.calibration)
        scores["recalibrated"] = self._scored(module)
        try:
            if self.epochs > 0:
                scores |= self._train(module, score)
        except _NotFiniteError as error:
            return Unusable(str(error))
        answers = outputs(module, self.val.images)
        if not torch.isfinite(answers).all():
            return Unusable("its answers to the validation images are not finite")
        metric = self.task.evaluate(answers, self.val.targets)
        return Finetuned(to_bytes(module.state_dict()), metric, scores)

    def _train(self, module: nn.Module, score: Score) -> dict[str, float]:
        """Train in place; the score after the short training, where that is known."""
        name = name_of(score)
        checkpoint = short_score = None
        short: dict[str, float] = {}
        if self.checkpoints is not None:
            checkpoint, short_score = checkpoint_files(self.checkpoints, name, self.epochs)
            if checkpoint.exists() and short_score.exists():
                short = json.loads(short_score.read_text())

        def look(done: int, trained: nn.Module) -> None:
            if done != ceil(self.epochs / SHORT):
                return
            replica = copy.deepcopy(trained)
            place(replica, torch.device("cpu"), torch.contiguous_format)
            recalibrate(replica, self.calibration)
            short["short"] = self._scored(replica)
            if short_score is not None:
                # Before the checkpoint: a training that goes on from there does not come this way again.
                write_json(short_score, short)

        def on_epoch(done: int, loss: float) -> None:
            if not math.isfinite(loss):
                raise _NotFiniteError(f"its loss is not finite after epoch {done}")
            if self.on_epoch is not None:
                self.on_epoch(name, done, loss)

        train(
            module,
            self.task,
            self.train,
            Recipe(self.epochs),
            seed=seed_of(self.seed, int(score.digest, 16)),
            mirror=self.mirror,
            teacher=self.teacher,
            checkpoint=checkpoint,
            look=look,
            on_epoch=on_epoch,
        )
        return short

    def _scored(self, module: nn.Module) -> float:
        return self.task.evaluate(outputs(module, self.scoring.images), self.scoring.targets)


class _NotFiniteError(Exception):
    """Training has diverged."""


def name_of(score: Score) -> str:
    """The network's name."""
    return f"fermi-{score.digest}"


def checkpoint_files(folder: Path, name: str, epochs: int) -> tuple[Path, Path]:
    """Where a training keeps its state, and what it has found out on the way."""
    stem = f"{name}-{epochs}-epochs"
    return folder / f"{stem}.safetensors", folder / f"{stem}.json"
