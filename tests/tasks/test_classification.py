import math

import pytest
import torch

from edgesynth.tasks import Classification

TASK = Classification()
OUTPUTS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 2.0], [5.0, 0.0, 0.0]])
TARGETS = torch.tensor([0, 1, 0, 2])


def test_the_metric_is_the_share_of_right_answers():
    assert TASK.metric == "accuracy"
    assert TASK.decode(OUTPUTS).tolist() == [0, 1, 2, 0]
    assert TASK.correct(OUTPUTS, TARGETS).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert TASK.evaluate(OUTPUTS, TARGETS) == 0.5


def test_a_metric_over_many_images_is_not_rounded():
    """Sums of float32 stop counting at 2**24, and thirds are not exact in it."""
    outputs = torch.zeros(3_000_001, 2)
    outputs[:1_000_001, 1] = 1
    assert TASK.evaluate(outputs, torch.ones(3_000_001, dtype=torch.int64)) == 1_000_001 / 3_000_001


def test_agreement_is_the_share_of_equal_answers():
    others = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert TASK.agreement(OUTPUTS, others) == 0.75
    assert TASK.agreement(OUTPUTS, OUTPUTS * 3 + 1) == 1.0


def test_the_loss_is_cross_entropy():
    expected = -(OUTPUTS.log_softmax(1)[torch.arange(4), TARGETS]).mean()
    assert TASK.loss(OUTPUTS, TARGETS).item() == pytest.approx(expected.item())


def test_distillation_is_a_divergence_at_temperature_4():
    teacher = OUTPUTS.flip(0)
    p, q = (teacher / 4).softmax(1), (OUTPUTS / 4).softmax(1)
    expected = 16 * (p * (p.log() - q.log())).sum() / len(OUTPUTS)
    assert TASK.distillation_loss(OUTPUTS, teacher).item() == pytest.approx(expected.item(), rel=1e-5)
    assert TASK.distillation_loss(OUTPUTS, OUTPUTS + 7).item() == pytest.approx(0, abs=1e-6)


def test_distillation_pulls_towards_the_teacher():
    student = torch.zeros(1, 3, requires_grad=True)
    TASK.distillation_loss(student, torch.tensor([[4.0, 0.0, 0.0]])).backward()
    assert student.grad.argmin() == 0
    assert math.isclose(student.grad.sum().item(), 0, abs_tol=1e-6)


def test_flipping_mirrors_left_and_right_where_asked_and_nothing_else():
    images = torch.arange(2 * 3 * 2 * 4, dtype=torch.float32).view(2, 3, 2, 4)
    before = images.clone()
    flipped, targets = TASK.flip(images, torch.tensor([1, 2]), torch.tensor([True, False]))
    assert torch.equal(flipped[0], images[0][..., [3, 2, 1, 0]])
    assert torch.equal(flipped[1], images[1])
    assert targets.tolist() == [1, 2]
    assert torch.equal(images, before)
