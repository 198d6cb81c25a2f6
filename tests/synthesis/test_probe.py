import copy

import pytest
import torch
from torch import nn

from edgesynth.data.source import Split
from edgesynth.space.genome import allowed_widths, canonical, full_genome
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace
from edgesynth.synthesis.probe import probe
from tests.networks import Residual, example, make
from tests.space.cases import CASES, space_of
from tests.synthesis.toys import TASK, same

IMAGES = 9


def stimuli(space, images=IMAGES):
    shape = (images, *space.example.shape[1:])
    generator = torch.Generator().manual_seed(5)
    return Split(torch.randn(shape, generator=generator), torch.arange(images) % 4)


def network_of(space, genome=None):
    genome = genome or full_genome(space.groups, space.blocks)
    return materialise(space, genome, identity_ranking(space.groups)), genome


def responses_of(space, network, genome, images=IMAGES):
    return probe(network, genome, space.groups, space.blocks, TASK, stimuli(space, images))


def small(space, kept):
    # Of fewer channels than half, all may happen to be dead on so few random images.
    widths = {g.name: next(w for w in allowed_widths(g.channels) if 2 * w >= g.channels) for g in space.groups}
    return canonical(widths, {block.name: kept for block in space.blocks}, space.groups, space.blocks)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("which", ["full", "thin", "shallow"])
def test_every_kept_channel_and_block_responds_and_nothing_else(name, which):
    space = space_of(name)
    genome = full_genome(space.groups, space.blocks) if which == "full" else small(space, which == "thin")
    responses = responses_of(space, *network_of(space, genome))
    widths = {name: len(response.taylor) for name, response in responses.groups.items()}
    assert widths == {name: width for name, width in genome.widths.items() if width > 0}
    assert responses.blocks.keys() == {name for name, kept in genome.blocks.items() if kept}
    for response in responses.groups.values():
        assert response.mean_abs > 0
        assert 0 <= response.dead <= 1
        assert all(score >= 0 for score in response.taylor)
        assert any(score > 0 for score in response.taylor)
    assert all(change > 0 for change in responses.blocks.values())


@pytest.mark.parametrize("name", ["residual", "nested", "dense", "dropout"])
def test_probing_leaves_the_network_as_it_was(name):
    space = space_of(name)
    network, genome = network_of(space)
    before = copy.deepcopy(network.state_dict())
    one, again = (responses_of(space, network.train(mode), genome) for mode in (True, False))
    assert one == again
    assert same(before, network)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())


def test_a_probe_that_fails_leaves_no_hooks_behind():
    space = space_of("residual")
    network, genome = make(Residual), full_genome(space.groups, space.blocks)
    bad = Split(torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="channels"):
        probe(network, genome, space.groups, space.blocks, TASK, bad)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())


def gate_gradients(space, layer, images=IMAGES):
    """For each channel of a layer: mean over images of |∂ own loss / ∂ gate|, all gates being open."""
    network, _ = network_of(space)
    gates = []

    def close_a_little(_, __, output):
        gates.append(torch.ones(images, output.shape[1], requires_grad=True))
        return output * gates[0].view(*gates[0].shape, *[1] * (output.dim() - 2))

    network.get_submodule(layer).register_forward_hook(close_a_little)
    split = stimuli(space, images)
    (nn.functional.cross_entropy(network(split.images), split.targets, reduction="sum")).backward()
    return gates[0].grad.abs().mean(dim=0)


@pytest.mark.parametrize(
    ("name", "group", "layer"),
    [
        ("residual", "first.branch.0", "first.branch.1"),
        ("residual", "stem.0", "stem.1"),
        ("residual", "second.conv1", "second.bn1"),  # an in-place rectifier follows
        ("residual", "down.0", "down.1"),
        ("plain", "3", "3"),  # no batch norm
        ("spatial-linear", "4", "4"),  # a linear layer
        ("dense", "one.0", "one.1"),
        ("dense", "two", "two"),  # its batch norm has other channels as well
        ("mobile", "3.layers.0", "3.layers.3"),
    ],
)
def test_the_score_of_a_channel_is_what_closing_it_would_change(name, group, layer):
    space = space_of(name)
    found = responses_of(space, *network_of(space)).groups[group].taylor
    assert torch.allclose(torch.tensor(found), gate_gradients(space, layer), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("images", [1, 2, 16])
def test_scores_are_means_over_images_whatever_their_number(images):
    space = space_of("residual")
    found = responses_of(space, *network_of(space), images).groups["stem.0"].taylor
    assert torch.allclose(torch.tensor(found), gate_gradients(space, "stem.1", images), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("layer", ["second.bn1", "second.bn2", "stem.1"])
def test_what_is_seen_is_seen_before_it_is_overwritten(layer):
    space = trace(make(Residual), example())
    network, genome = network_of(space)
    seen = []
    network.get_submodule(layer).register_forward_hook(lambda _, __, output: seen.append(output.detach().clone()))
    responses = responses_of(space, network, genome)
    group = next(g.name for g in space.groups if layer in g.layers)
    if layer != "second.bn2":  # the last of its group, which is watched at its first
        assert responses.groups[group].mean_abs == pytest.approx(seen[0].abs().mean().item(), rel=1e-5)
    assert (seen[0] < 0).any()


def test_a_dead_channel_is_found():
    space = trace(make(Residual), example())
    network, genome = network_of(space)
    norm = network.get_submodule("first.branch.1")
    with torch.no_grad():
        norm.weight[[2, 7, 8]] = 0
        norm.bias[[2, 7, 8]] = 0
    response = responses_of(space, network, genome).groups["first.branch.0"]
    assert response.dead == pytest.approx(3 / 12)
    assert [response.taylor[channel] for channel in (2, 7, 8)] == [0, 0, 0]
    assert sum(score > 0 for score in response.taylor) >= 8
    assert responses_of(space, network, genome).groups["stem.0"].dead == 0


def test_a_block_responds_by_how_much_it_changes_the_stream():
    space = space_of("residual")
    network, genome = network_of(space)
    norms = {}

    def record(name):
        return lambda _, inputs, output: norms.update({name: (inputs[0].norm().item(), output.norm().item())})

    for layer in ("first.branch.0", "first.branch.4", "second.conv1", "second.bn2"):
        network.get_submodule(layer).register_forward_hook(record(layer))
    blocks = responses_of(space, network, genome).blocks
    assert blocks["first.branch"] == pytest.approx(norms["first.branch.4"][1] / norms["first.branch.0"][0], rel=1e-5)
    assert blocks["second"] == pytest.approx(norms["second.bn2"][1] / norms["second.conv1"][0], rel=1e-5)
