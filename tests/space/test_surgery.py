import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from edgesynth.records import Genome
from edgesynth.space.genome import canonical, digest, full_genome
from edgesynth.space.surgery import identity_ranking, kept_channels, materialise, source_indices
from edgesynth.space.trace import trace
from tests.networks import Residual, SpatialLinear, example, make
from tests.space.cases import CASES, genomes, prototype, rankings, space_of

every = pytest.mark.parametrize("name", CASES)
few = settings(max_examples=12, deadline=None)


def shapes(network):
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@every
@given(data=st.data())
@few
def test_any_genome_becomes_a_network_of_inherited_weights(name, data):
    space = space_of(name)
    genome, ranking = data.draw(genomes(space)), data.draw(rankings(space))
    network = materialise(space, genome, ranking)
    assert not network.training
    assert network(space.example).shape == space.module(space.example).shape
    source, inherited = space.module.state_dict(), network.state_dict()
    indices = source_indices(space, genome, ranking)
    assert indices.keys() == {key for key, tensor in inherited.items() if tensor.is_floating_point()}
    for key, index in indices.items():
        assert torch.equal(source[key].flatten()[index], inherited[key])
        assert len(index.unique()) == index.numel()
    for group in space.groups:
        kept = kept_channels(genome, ranking, group.name)
        assert len(kept) == genome.widths[group.name]
        if kept and isinstance(space.module.get_submodule(group.name), nn.Conv2d | nn.Linear):
            rows = indices[f"{group.name}.weight"].flatten(1)[:, 0] // source[f"{group.name}.weight"][0].numel()
            assert rows.tolist() == kept


@every
def test_the_full_genome_is_the_prototype_itself(name):
    space, (module, image) = space_of(name), prototype(name)
    network = materialise(space, full_genome(space.groups, space.blocks), identity_ranking(space.groups))
    images = torch.cat([image, -image, torch.randn_like(image)])
    with torch.no_grad():
        assert torch.equal(network(images), module(images))
    assert shapes(network) == shapes(module)


@every
@given(data=st.data())
@few
def test_equal_digests_are_equal_shapes(name, data):
    """Both ways: the digest tells networks apart, and never tells one from itself."""
    space = space_of(name)
    ranking = identity_ranking(space.groups)
    one, other = data.draw(genomes(space)), data.draw(genomes(space))
    same = shapes(materialise(space, one, ranking)) == shapes(materialise(space, other, ranking))
    # Weights say nothing of the size of the image that they work on.
    assert (digest(one) == digest(other)) == (same and one.resolution == other.resolution)


@pytest.mark.parametrize("name", ["residual", "nested", "resnet8"])
@given(data=st.data())
@few
def test_what_a_genome_says_of_dropped_parts_does_not_matter(name, data):
    space = space_of(name)
    genome = data.draw(genomes(space))
    assume(not all(genome.blocks.values()))
    hidden = {g.name: genome.widths[g.name] or g.channels for g in space.groups}
    raw = Genome(widths=hidden, blocks=genome.blocks, resolution=genome.resolution)
    raw = materialise(space, raw, identity_ranking(space.groups))
    assert canonical(hidden, genome.blocks, space.groups, space.blocks, genome.resolution) == genome
    assert shapes(raw) == shapes(materialise(space, genome, identity_ranking(space.groups)))


def test_the_space_is_not_used_up_by_surgery():
    space = trace(make(Residual), example())
    before = {key: tensor.clone() for key, tensor in space.module.state_dict().items()}
    genome = canonical(dict.fromkeys((g.name for g in space.groups), 4), {"first.branch": False, "second": False,
                       "third.branch": False}, space.groups, space.blocks)  # fmt: skip
    network = materialise(space, genome, identity_ranking(space.groups))
    source_indices(space, genome, identity_ranking(space.groups))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7)
    after = space.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [block.name for block in space.blocks] == ["first.branch", "second", "third.branch"]


def test_other_weights_than_the_prototypes_can_be_inherited():
    space = trace(make(SpatialLinear), example())
    other = make(SpatialLinear, seed=1).state_dict()
    ranking = {"0": [5, 2, 7, 0, 1, 3, 4, 6], "4": list(range(15, -1, -1))}
    genome = Genome(widths={"0": 4, "4": 4}, blocks={})
    network = materialise(space, genome, ranking, other)
    assert kept_channels(genome, ranking, "0") == [0, 2, 5, 7]
    assert torch.equal(network.state_dict()["0.weight"], other["0.weight"][[0, 2, 5, 7]])
    # Each channel is 16 inputs of the linear layer.
    columns = [16 * channel + position for channel in (0, 2, 5, 7) for position in range(16)]
    assert torch.equal(network.state_dict()["4.weight"], other["4.weight"][12:][:, columns])
