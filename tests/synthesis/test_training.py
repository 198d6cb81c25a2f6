import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgesynth.data.source import Split
from edgesynth.synthesis.compute import autocast, device
from edgesynth.synthesis.training import (
    BATCH,
    Recipe,
    Teacher,
    batches,
    learning_rate,
    outputs,
    recalibrate,
    seed_of,
    train,
)
from tests.networks import Dropping, Plain, Residual, example, make
from tests.synthesis.toys import TASK, data, same


def test_the_learning_rate_rises_in_a_line_and_falls_along_a_cosine():
    rates = [learning_rate(step, 20, 0.8) for step in range(20)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4:] == pytest.approx([0.4 * (1 + math.cos(math.pi * k / 16)) for k in range(16)])
    assert learning_rate(20, 20, 0.8) == pytest.approx(0)


@given(st.integers(1, 500), st.floats(1e-3, 1))
@settings(deadline=None)
def test_every_step_has_a_rate_between_0_and_the_peak_which_is_reached(steps, peak):
    rates = [learning_rate(step, steps, peak) for step in range(steps)]
    top = max(1, round(0.2 * steps)) - 1
    assert max(rates) == pytest.approx(peak, rel=1e-12)
    assert all(rate > 0 for rate in rates)
    slack = 1e-12 * peak
    assert all(one < other for one, other in itertools.pairwise(rates[: top + 1]))
    assert all(one > other - slack for one, other in itertools.pairwise(rates[top:]))


def test_every_use_of_randomness_has_its_own_seed():
    parts = [p for length in (1, 2, 3) for p in itertools.product((*range(12), 123_456, 2**31), repeat=length)]
    seeds = [seed_of(*p) for p in parts]
    assert len(set(seeds)) == len(seeds)
    assert seed_of(3, 1) != seed_of(1, 3)


@given(st.lists(st.integers(-(2**40), 2**64), max_size=4))
@settings(deadline=None)
def test_any_numbers_make_a_seed_that_torch_takes(parts):
    seed = seed_of(*parts)
    assert seed == seed_of(*parts)
    assert 0 <= seed < 2**63
    torch.Generator().manual_seed(seed)


def test_an_epoch_has_every_image_once_in_an_order_of_the_seed():
    split = data().train
    one, again, other = (list(batches(split, TASK, seed, False)) for seed in (1, 1, 2))
    order = torch.cat([indices for _, _, indices, _ in one])
    assert order.sort().values.tolist() == list(range(len(split)))
    assert torch.equal(order, torch.cat([indices for _, _, indices, _ in again]))
    assert not torch.equal(order, torch.cat([indices for _, _, indices, _ in other]))
    for images, targets, indices, flipped in one:
        assert len(images) <= BATCH
        assert not flipped.any()
        assert torch.equal(images, split.images[indices])
        assert torch.equal(targets, split.targets[indices])


def test_about_half_the_images_are_mirrored_where_that_is_allowed():
    split = data().train
    flips = []
    for images, _, indices, flipped in batches(split, TASK, 1, True):
        assert torch.equal(images[flipped], split.images[indices][flipped].flip(-1))
        assert torch.equal(images[~flipped], split.images[indices][~flipped])
        flips.append(flipped)
    share = torch.cat(flips).float().mean()
    assert 0.4 < share < 0.6


class Interrupted(Exception):  # noqa: N818 -- it stands for a kill, which is no error
    pass


def trained(kind, *, seed=5, stop=None, checkpoint=None, teacher=None, mirror=True, epochs=4):
    """A toy after training, or as far as it got."""

    def on_epoch(done, loss):
        assert math.isfinite(loss)
        if done == stop:
            raise Interrupted

    network = make(kind)
    train(
        network,
        TASK,
        data().train,
        Recipe(epochs),
        seed=seed,
        mirror=mirror,
        teacher=teacher,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    return network


@pytest.mark.parametrize("kind", [Residual, Dropping])
def test_one_seed_gives_one_network(kind):
    one = trained(kind, epochs=2)
    torch.rand(7)  # whatever else the program draws
    assert same(one, trained(kind, epochs=2))
    assert not same(one, trained(kind, epochs=2, seed=6))


@pytest.mark.parametrize("kind", [Residual, Dropping])
@pytest.mark.parametrize("taught", [True, False], ids=["taught", "labels only"])
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(tmp_path, kind, taught, stop):
    teacher = Teacher.of(make(kind, seed=1), TASK, data().train, True) if taught else None
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Interrupted):
        trained(kind, stop=stop, checkpoint=checkpoint, teacher=teacher)
    torch.rand(7)
    resumed = trained(kind, checkpoint=checkpoint, teacher=teacher)
    assert same(resumed, trained(kind, teacher=teacher))
    assert checkpoint.exists()


def test_training_leaves_the_programs_own_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    network = make(Plain, seed=3)
    torch.manual_seed(3)
    train(network, TASK, data().train, Recipe(1), seed=0, mirror=True)
    assert torch.equal(torch.rand(3), expected)


def test_training_teaches_and_hands_back_a_plain_network():
    untrained, network = make(Residual), trained(Residual, mirror=False, epochs=8)
    scores = [TASK.evaluate(outputs(n, data().val.images), data().val.targets) for n in (untrained, network)]
    assert scores[0] < 0.5
    assert scores[1] > 0.9
    assert not network.training
    assert all(p.device.type == "cpu" and p.is_contiguous() for p in network.parameters())


def test_a_teacher_alone_teaches():
    """Labels that say nothing, and a teacher that knows: the network learns from the teacher."""
    teacher = Teacher.of(trained(Residual, mirror=False, epochs=8), TASK, data().train, False)
    split = Split(data().train.images, torch.zeros_like(data().train.targets))
    with_teacher, without = make(Residual), make(Residual)
    train(with_teacher, TASK, split, Recipe(8), seed=0, mirror=False, teacher=teacher)
    train(without, TASK, split, Recipe(8), seed=0, mirror=False)
    scores = [TASK.evaluate(outputs(n, data().val.images), data().val.targets) for n in (with_teacher, without)]
    assert scores[0] > scores[1] + 0.3


def test_a_teacher_answers_for_images_as_they_stand_and_mirrored():
    network, split = make(Residual), data().train
    teacher = Teacher.of(network, TASK, split, True)
    with autocast(device()):
        assert torch.equal(teacher.plain, outputs(network, split.images))
        assert torch.equal(teacher.mirrored, outputs(network, split.images.flip(-1)))
    assert not torch.equal(teacher.plain, teacher.mirrored)
    indices, flipped = torch.tensor([5, 0, 7]), torch.tensor([True, False, True])
    answers = teacher.answers(indices, flipped)
    assert torch.equal(answers[[0, 2]], teacher.mirrored[[5, 7]])
    assert torch.equal(answers[1], teacher.plain[0])
    assert teacher.tensors().keys() == {"plain", "mirrored"}
    again = Teacher(**teacher.tensors())
    assert torch.equal(again.answers(indices, flipped), answers)


def test_a_teacher_of_images_that_are_never_mirrored_keeps_half():
    teacher = Teacher.of(make(Residual), TASK, data().train, False)
    assert teacher.mirrored is None
    assert teacher.tensors().keys() == {"plain"}
    answers = teacher.answers(torch.tensor([2, 1]), torch.tensor([False, False]))
    assert torch.equal(answers, teacher.plain[[2, 1]])


def test_a_teachers_answers_may_be_maps():
    plain = torch.arange(24.0).view(2, 3, 2, 2)
    answers = Teacher(plain, -plain).answers(torch.tensor([1, 0]), torch.tensor([True, False]))
    assert torch.equal(answers, torch.stack([-plain[1], plain[0]]))


@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_those_of_eval_mode_in_parts_of_any_size(training):
    network, images = make(Dropping).train(training), example(1100)
    before = copy.deepcopy(network.state_dict())
    answers = outputs(network, images)
    assert network.training is training
    assert same(before, network)
    assert not answers.requires_grad
    with torch.no_grad():
        assert torch.allclose(answers, network.eval()(images), atol=1e-5)


def expected_statistics(images):
    """Of the first batch norm of `Residual`: plain averages over batches that have more than one image."""
    with torch.no_grad():
        maps = [make(Residual).stem[0](part) for part in images.split(BATCH) if len(part) > 1]
    mean = torch.stack([m.mean(dim=(0, 2, 3)) for m in maps]).mean(dim=0)
    variance = torch.stack([m.var(dim=(0, 2, 3)) for m in maps]).mean(dim=0)
    return mean, variance


@pytest.mark.parametrize("images", [40, 2 * BATCH, 2 * BATCH + 30, BATCH + 1])
def test_recalibration_measures_batch_norm_anew_and_changes_nothing_else(images):
    network, stimuli = make(Residual), 3 + 2 * example(images)
    momenta = [layer.momentum for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = copy.deepcopy(network.state_dict())
    recalibrate(network, stimuli)
    mean, variance = expected_statistics(stimuli)
    assert torch.allclose(network.stem[1].running_mean, mean, atol=1e-4)
    assert torch.allclose(network.stem[1].running_var, variance, rtol=1e-3)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.endswith(statistics)
    assert [layer.momentum for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)] == momenta
    assert not any(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_recalibration_does_not_see_dropout():
    one, other = make(Dropping), make(Dropping).train()
    for network in (one, other):
        recalibrate(network, example(60))
    assert same(one, other)
    assert not other.training


def test_recalibration_again_changes_nothing():
    network = make(Residual)
    recalibrate(network, example(60))
    once = copy.deepcopy(network.state_dict())
    recalibrate(network, example(60))
    assert same(once, network)
