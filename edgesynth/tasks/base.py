"""What a task is: everything that depends on what the network is asked to do."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["Task"]


class Task(ABC):
    """One kind of question to a network: its loss, its metric, its decoding.

    Stateless, so safe to share between threads. `outputs` are what the network returns for a batch, `targets` what
    the data set holds for it. A metric is a share in [0, 1], greater is better, and is averaged over images.
    """

    metric: str
    """Name of the metric, as requirements spell it."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Scalar training loss, mean over the batch."""

    @abstractmethod
    def distillation_loss(self, outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
        """Scalar distance of the outputs to a teacher's for the same batch, on the scale of `loss`."""

    @abstractmethod
    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Contribution of each image to the metric, shape (N,), float."""

    @abstractmethod
    def decode(self, outputs: Tensor) -> Tensor:
        """The answer in the task's own terms, e.g. class indices of shape (N,)."""

    @abstractmethod
    def flip(self, images: Tensor, targets: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Mirror the images (N, C, H, W) selected by the boolean `which` (N,), and their targets alike."""

    def evaluate(self, outputs: Tensor, targets: Tensor) -> float:
        """The metric over a set of outputs."""
        return float(self.correct(outputs, targets).double().mean())

    def agreement(self, outputs: Tensor, others: Tensor) -> float:
        """Share of answers that are the same in both."""
        return float(torch.eq(self.decode(outputs), self.decode(others)).double().mean())
