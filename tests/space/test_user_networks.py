"""Networks of the kinds that users bring go the whole way: traced, made small, counted, trained, exported."""

from functools import cache

import pytest
import torch
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.outputs import named_outputs
from edgesynth_exporters.parity import check_parity

from edgesynth.space.cost import CostModel, count
from edgesynth.space.genome import allowed_widths, canonical, full_genome
from edgesynth.space.surgery import materialise
from edgesynth.space.trace import trace
from edgesynth.space.trial import trial_surgery
from edgesynth.synthesis.compute import layout_of
from edgesynth.synthesis.shared import _member
from tests.networks import example, make
from tests.user_networks import MULTIPLE, USERS

every = pytest.mark.parametrize("name", USERS)

OUTPUT = "its channels are an output of the network"
SPACES = {
    "densenet": (
        ["0", "1.0.2", "1.0.5", "1.1.2", "1.1.5", "2.2", "3.0.2", "3.0.5", "3.1.2", "3.1.5"],
        [],
        {"4.4": OUTPUT},
    ),
    "u-net": (["enter.0", "down.1", "deep.1", "deep.4", "middle.0", "leave.0"], ["add"], {"leave.3": OUTPUT}),
    "splitting": (
        ["stem.0", "depthwise.2"],
        ["add"],
        {
            "narrow.0": "feeds 'grouped.0', a grouped convolution: 4 groups",
            "grouped.0": "grouped convolution: 4 groups",
            "head.2": OUTPUT,
        },
    ),
    "gated": (["0", "3.squeeze", "4", "7.scale.1"], [], {"10": OUTPUT}),
    "two-heads": (["body.0", "body.3", "box.0"], [], {"classes.2": OUTPUT, "box.4": OUTPUT}),
    "named-heads": (
        ["early.0", "late.0", "mask.1"],
        [],
        {"late.3": OUTPUT, "classes.2": OUTPUT, "mask.3": OUTPUT},
    ),
    "normalised": (["0", "6", "7.wide"], ["7"], {"3": "'4' normalises its channels in 3 groups", "10": OUTPUT}),
    "shuffled": (
        ["branch.0", "last.0"],
        [],
        {
            "stem.0": "pruning it breaks the network: Given groups=1, ",
            "branch.3": "coupled with 'stem.0': pruning it breaks the network: Given groups=1, ",
            "head.2": OUTPUT,
        },
    ),
    "parted": (
        ["small", "last.0"],
        [],
        {
            "stem.0": "pruning it breaks the network: split_with_sizes expects split_sizes to sum exactly to 2",
            "twice": "pruning it breaks the network: Given groups=1, ",
            "head.2": OUTPUT,
        },
    ),
    "numbers": (
        ["early.0", "hidden"],
        [],
        {"late.0": "pruning it breaks the network: shape '[-1, 128]' is invalid for input of size ", "head": OUTPUT},
    ),
    "siamese": (["tower.0", "tower.3", "join.0"], [], {"head.2": OUTPUT}),
    "attending": (["stem.0", "query", "last.0"], ["add"], {"head.2": OUTPUT}),
    "borrowing": (
        ["other.0", "last.0"],
        ["other"],
        {
            "stem.0": "pruning it changes what the other channels mean",
            "branch.2": "coupled with 'stem.0': pruning it changes what the other channels mean",
            "other.3": "coupled with 'stem.0': pruning it changes what the other channels mean",
            "branch.0": "pruning it changes what the other channels mean",
            "branch": "dropping it removes other weights than those that belong to it",
            "head.2": OUTPUT,
        },
    ),
}


@cache
def space_of(name):
    return trial_surgery(trace(make(USERS[name]), example()))


def ranking_of(space):
    random = torch.Generator().manual_seed(3)
    return {g.name: torch.randperm(g.channels, generator=random).tolist() for g in space.groups}


def genomes_of(space):
    """The full network, the smallest ones, and some between them."""
    random = torch.Generator().manual_seed(4)
    yield full_genome(space.groups, space.blocks)
    for index in range(5):
        choices = {g.name: allowed_widths(g.channels) for g in space.groups}
        some = {name: int(torch.randint(len(widths), (1,), generator=random)) for name, widths in choices.items()}
        widths = {name: widths[0 if index < 2 else some[name]] for name, widths in choices.items()}
        kept = {b.name: index == 0 or (index > 1 and (index + i) % 2 == 0) for i, b in enumerate(space.blocks)}
        yield canonical(widths, kept, space.groups, space.blocks)


def smallest(space):
    return list(genomes_of(space))[2]


def shapes(answers):
    return {name: tuple(tensor.shape) for name, tensor in named_outputs(answers).items()}


def some_loss(answers):
    """One term for each output."""
    return sum((tensor - index).square().mean() for index, tensor in enumerate(named_outputs(answers).values(), 1))


@every
def test_what_can_be_pruned_or_dropped_is_found_and_the_rest_named_with_the_reason(name):
    space = space_of(name)
    groups, blocks, whole = SPACES[name]
    assert [group.name for group in space.groups] == groups
    assert [block.name for block in space.blocks] == blocks
    assert space.whole.keys() == whole.keys()
    for layer, reason in whole.items():
        assert space.whole[layer].startswith(reason)
        assert len(space.whole[layer].splitlines()) == 1


@every
def test_any_genome_has_the_outputs_of_the_prototype_and_the_cost_foretold(name):
    space = space_of(name)
    costs, prototype = CostModel.from_space(space), make(USERS[name])
    with torch.no_grad():
        for genome in genomes_of(space):
            network = materialise(space, genome, ranking_of(space))
            assert type(network(example(3))) is type(prototype(example(3)))
            assert shapes(network(example(3))) == shapes(prototype(example(3)))
            assert costs.of(genome) == count(network, example())


@every
def test_the_prototype_and_its_smallest_network_learn_from_a_step(name):
    space = space_of(name)
    for genome in (full_genome(space.groups, space.blocks), smallest(space)):
        network = materialise(space, genome, ranking_of(space)).train().to(memory_format=layout_of(space.module))
        before = {key: parameter.detach().clone() for key, parameter in network.named_parameters()}
        some_loss(network(example(6).to(memory_format=layout_of(space.module)))).backward()
        torch.optim.SGD(network.parameters(), lr=0.1).step()
        assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
        # All but those whose gradient is 0 by nature, such as a bias in front of a norm.
        assert sum(torch.equal(before[key], p) for key, p in network.named_parameters()) <= 3


@every
def test_shared_weights_learn_from_a_sliced_network_what_it_has_of_them_and_nothing_else(name):
    space = space_of(name)
    member = _member(space, smallest(space), ranking_of(space), torch.device("cpu"))
    shared = {key: torch.nn.Parameter(p.detach().clone()) for key, p in space.module.named_parameters()}
    for parameter in shared.values():
        parameter.grad = torch.zeros_like(parameter)
    assert member.backward(shared, example(6), some_loss) > 0
    learned = 0
    for key, parameter in shared.items():
        gradient = parameter.grad.flatten()
        outside = torch.ones(parameter.numel(), dtype=torch.bool)
        if key in member.indices:
            outside[member.indices[key].flatten()] = False
            learned += bool(gradient.any())
        assert torch.isfinite(gradient).all()
        assert not gradient[outside].any()
    assert learned > len(member.indices) / 2


@every
def test_the_prototype_and_its_smallest_network_can_be_exported(tmp_path, name):
    space, images = space_of(name), example(8)
    for genome in (full_genome(space.groups, space.blocks), smallest(space)):
        network = materialise(space, genome, ranking_of(space))
        export_onnx(network, example(), tmp_path / "m.onnx", 13)
        with torch.no_grad():
            expected = {key: tensor.numpy() for key, tensor in named_outputs(network(images)).items()}
        result = check_parity(tmp_path / "m.onnx", images.numpy(), expected)
        assert result.max_abs_error < 1e-4
        assert (len(expected) > 1) == (name in MULTIPLE)


def test_a_space_in_which_all_is_well_is_left_as_it_is():
    space = trace(make(USERS["densenet"]), example())
    assert trial_surgery(space) is space
