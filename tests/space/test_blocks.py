import operator

import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace
from torch.fx.passes.shape_prop import ShapeProp

from edgesynth.records import BlockInfo
from edgesynth.space.blocks import drop_block, find_blocks
from edgesynth.space.genome import canonical, full_genome
from edgesynth.space.surgery import identity_ranking, materialise
from tests.networks import Residual, example, make
from tests.space.cases import CASES, prototype, space_of

BLOCKS = {
    "residual": ["first.branch", "second", "third.branch"],
    "pre-activation": ["blocks.0", "blocks.1", "blocks.2"],
    "nested": ["inner", "add_1"],
    "mobile": ["3.layers", "4.layers"],
    "resnet8": ["stages.0.0"],
    "resnet20": [f"stages.{name}" for name in ("0.0", "0.1", "0.2", "1.1", "1.2", "2.1", "2.2")],
    "mobilenetv2-tiny": [f"blocks.{index}.layers" for index in (2, 4, 5, 7, 8)],
}


@pytest.mark.parametrize("name", CASES)
def test_exactly_the_blocks_that_keep_the_shape_are_found(name):
    assert [block.name for block in space_of(name).blocks] == BLOCKS.get(name.partition("@")[0], [])


@pytest.mark.parametrize(
    ("name", "block", "layers"),
    [
        ("residual", "first.branch", [f"first.branch.{i}" for i in range(5)]),
        ("residual", "second", ["second.conv1", "second.bn1", "second.conv2", "second.bn2"]),
        ("nested", "inner", [f"inner.{i}" for i in range(5)]),
        (
            "nested",
            "add_1",
            [f"{part}.{i}" for part, count in (("enter", 3), ("inner", 5), ("leave", 3)) for i in range(count)],
        ),
        ("resnet20", "stages.1.2", [f"stages.1.2.{x}" for x in ("conv1", "bn1", "relu1", "conv2", "bn2")]),
        ("mobilenetv2-tiny", "blocks.4.layers", [f"blocks.4.layers.{i}" for i in range(8)]),
    ],
)
def test_a_block_is_its_branch_in_forward_order(name, block, layers):
    assert {b.name: b.layers for b in space_of(name).blocks}[block] == layers


def without(space, *dropped):
    genome = full_genome(space.groups, space.blocks)
    kept = {name: name not in dropped for name in genome.blocks}
    genome = canonical(genome.widths, kept, space.groups, space.blocks)
    return materialise(space, genome, identity_ranking(space.groups))


@pytest.mark.parametrize("name", ["residual", "pre-activation", "nested", "mobile", "resnet8", "resnet20"])
def test_dropping_everything_leaves_none_of_it_behind(name):
    space = space_of(name)
    network = without(space, *(block.name for block in space.blocks))
    gone = {layer for block in space.blocks for layer in block.layers}
    assert not gone & {key.rpartition(".")[0] for key in network.state_dict()}
    image = prototype(name)[1]
    assert network(image).shape == space.module(image).shape


def with_weights_of_zero(module, layer):
    with torch.no_grad():
        for parameter in module.get_submodule(layer).parameters():
            parameter.zero_()


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("residual", {"first.branch": "first.branch.4", "second": "second.bn2", "third.branch": "third.branch.4"}),
        ("pre-activation", {f"blocks.{i}": f"blocks.{i}.2" for i in range(3)}),
        ("nested", {"inner": "inner.4", "add_1": "leave.2"}),
        ("mobile", {"3.layers": "3.layers.6", "4.layers": "4.layers.6"}),
    ],
)
@pytest.mark.parametrize("which", [(0,), (1,), (0, 1), (-1,), (0, -1)])
def test_dropping_a_block_is_the_same_as_a_branch_that_gives_zero(name, last, which):
    space = space_of(name)
    dropped = {list(last)[index] for index in which}
    other = without(space)
    for block in dropped:
        with_weights_of_zero(other, last[block])
    images = example(5)
    assert torch.equal(without(space, *dropped)(images), other(images))


def count_relus(network):
    return sum(
        node.target in (torch.relu, nn.functional.relu_)
        or (node.op == "call_module" and isinstance(network.get_submodule(node.target), nn.ReLU))
        for node in network.graph.nodes
    )


@pytest.mark.parametrize(
    ("dropped", "relus"),
    [
        ((), 8),
        (("first.branch",), 6),
        (("second",), 6),
        (("first.branch", "second"), 4),
        (("first.branch", "second", "third.branch"), 2),
    ],
)
def test_two_rectifiers_in_a_row_become_one(dropped, relus):
    assert count_relus(without(space_of("residual"), *dropped)) == relus


def test_a_rectifier_that_opens_the_next_branch_stays():
    """Its input is used by the addition as well, and its block must be there to be dropped or kept."""
    space = space_of("pre-activation")
    network = without(space, "blocks.0")
    assert {"blocks.1.0", "blocks.2.0"} <= dict(network.named_modules()).keys()
    assert "blocks.0.0" not in dict(network.named_modules())


class Sums(nn.Module):
    """Additions that are not x + f(x) with f(x) of the same shape."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.single = nn.Conv2d(4, 1, 3, padding=1)
        self.bias = nn.Parameter(torch.zeros(4, 1, 1))

    def forward(self, x):
        return self.how(self, x)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(lambda m, x: m.conv1(x) + m.conv2(x), id="two branches"),
        pytest.param(lambda m, x: m.single(x) + m.conv1(x), id="branches of two shapes"),
        pytest.param(lambda m, x: x + 1.0, id="a number"),
        pytest.param(lambda m, x: x + x, id="twice itself"),
        pytest.param(lambda m, x: x + torch.relu(x), id="no layers"),
        pytest.param(lambda m, x: x + m.conv1(x) * m.bias, id="a bare parameter"),
        pytest.param(lambda m, x: torch.add(x, m.conv1(x), alpha=2), id="weighted"),
        pytest.param(lambda m, x: torch.relu((y := m.conv1(x)) + x) + m.conv2(y), id="branch leads elsewhere"),
        pytest.param(lambda m, x: x + m.conv1(m.conv1(x)), id="a layer used twice"),
    ],
)
def test_other_additions_are_no_blocks(how):
    module = symbolic_trace(Sums(how))
    ShapeProp(module).propagate(torch.randn(1, 4, 6, 6))
    assert find_blocks(module) == []


@pytest.mark.parametrize(
    "add",
    [
        pytest.param(operator.add, id="+"),
        pytest.param(operator.iadd, id="+="),
        pytest.param(torch.add, id="torch.add"),
        pytest.param(lambda a, b: a.add(b), id=".add"),
        pytest.param(lambda a, b: a.add_(b), id=".add_"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_every_way_to_add_is_seen_from_both_sides_and_can_be_dropped(add, order):
    def how(module, x):
        x = module.conv1(x)
        return add(*[x, module.conv2(x)][::order])

    module = symbolic_trace(Sums(how))
    image = torch.randn(1, 4, 6, 6)
    ShapeProp(module).propagate(image)
    assert [block.layers for block in find_blocks(module)] == [["conv2"]]
    drop_block(module, find_blocks(module)[0])
    assert torch.equal(module(image), module.conv1(image))
    assert not hasattr(module, "conv2")


def test_a_block_that_is_not_there_cannot_be_dropped():
    module = symbolic_trace(make(Residual))
    with pytest.raises(ValueError, match="block down is not in this graph"):
        drop_block(module, BlockInfo(name="down", layers=["down.0", "down.1"]))
