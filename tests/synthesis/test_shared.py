import copy

import pytest
import torch

from edgesynth.data.source import Split
from edgesynth.errors import ToolError
from edgesynth.space.genome import allowed_widths, canonical, full_genome
from edgesynth.space.surgery import materialise
from edgesynth.space.trace import trace
from edgesynth.synthesis.shared import train_shared
from edgesynth.synthesis.training import Teacher, outputs, recalibrate
from tests.networks import Dropping, example, make
from tests.synthesis.toys import TASK, data, same, trained_space


def some_ranking(space):
    random = torch.Generator().manual_seed(1)
    return {g.name: torch.randperm(g.channels, generator=random).tolist() for g in space.groups}


def pool_of(space):
    """From the smallest to the full network, blocks kept and dropped."""
    genomes = [full_genome(space.groups, space.blocks)]
    for index in range(6):
        widths = {g.name: allowed_widths(g.channels)[index % len(allowed_widths(g.channels))] for g in space.groups}
        kept = {b.name: (index + position) % 3 != 0 for position, b in enumerate(space.blocks)}
        genomes.append(canonical(widths, kept, space.groups, space.blocks))
    return genomes


def shared_weights(space, *, epochs=4, seed=0, losses=None, split=None):
    split = data().train if split is None else split
    return train_shared(
        space,
        some_ranking(space),
        pool_of(space),
        TASK,
        split,
        Teacher.of(space.module, TASK, split, False),
        epochs=epochs,
        seed=seed,
        mirror=False,
        on_epoch=lambda done, loss: losses.append((done, loss)) if losses is not None else None,
    )


@pytest.fixture(scope="module")
def shared():
    """(weights, losses by epoch), after checking that the prototype's own stayed what they were."""
    space, losses = trained_space(), []
    before = copy.deepcopy(space.module.state_dict())
    weights = shared_weights(space, losses=losses)
    assert same(before, space.module)
    return weights, losses


def loss_of(genome, weights):
    space = trained_space()
    network = materialise(space, genome, some_ranking(space), weights)
    recalibrate(network, data().train.images)
    return float(TASK.loss(outputs(network, data().val.images), data().val.targets))


def test_a_sliced_network_is_better_for_it(shared):
    space = trained_space()
    small = pool_of(space)[1:]
    own = space.module.state_dict()
    before, after = ([loss_of(genome, weights) for genome in small] for weights in (own, shared[0]))
    assert all(a < b for a, b in zip(after, before, strict=True))
    assert sum(after) < 0.7 * sum(before)


def test_the_full_network_still_knows_what_it_knew(shared):
    assert loss_of(pool_of(trained_space())[0], shared[0]) < 0.3


def test_the_loss_falls(shared):
    done, losses = zip(*shared[1], strict=True)
    assert done == (1, 2, 3, 4)
    assert losses[-1] < losses[0]


def test_the_weights_have_the_prototypes_names_and_shapes_and_its_statistics(shared):
    own = trained_space().module.state_dict()
    assert shared[0].keys() == own.keys()
    for name, tensor in shared[0].items():
        assert tensor.shape == own[name].shape
        assert not tensor.requires_grad
        statistic = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert torch.equal(tensor, own[name]) == statistic


def test_weights_that_diverge_end_in_a_sentence():
    split = data().train
    images = split.images.clone()
    images[7] = float("nan")
    with pytest.raises(ToolError, match="diverged in epoch 1: look for images"):
        shared_weights(trained_space(), epochs=1, split=Split(images, split.targets))


@pytest.mark.parametrize("kind", [None, Dropping], ids=["residual", "dropout"])
def test_one_seed_gives_the_same_weights(kind):
    space = trained_space() if kind is None else trace(make(kind), example())
    one = shared_weights(space, epochs=1)
    torch.rand(7)
    assert same(one, shared_weights(space, epochs=1))
    assert not same(one, shared_weights(space, epochs=1, seed=1))
