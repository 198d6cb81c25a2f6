"""Image classification: one class per image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.tasks.base import Task

__all__ = ["Classification"]

TEMPERATURE = 4.0


class Classification(Task):
    """Outputs are logits (N, classes), targets class indices (N,), the metric is top-1 accuracy."""

    metric = "accuracy"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def distillation_loss(self, outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
        """Kullback-Leibler divergence at temperature 4, scaled by its square (Hinton et al., arXiv 1503.02531)."""
        student = F.log_softmax(outputs / TEMPERATURE, dim=1)
        teacher = F.log_softmax(teacher_outputs / TEMPERATURE, dim=1)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * TEMPERATURE**2

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) == targets).float()

    def decode(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(dim=1)

    def flip(self, images: Tensor, targets: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        mirrored = torch.where(which[:, None, None, None], images.flip(-1), images)
        return mirrored, targets
