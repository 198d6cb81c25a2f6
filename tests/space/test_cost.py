import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgesynth.prototypes import PROTOTYPES
from edgesynth.space.cost import CostModel, Costs, count, layer_positions
from edgesynth.space.genome import allowed_widths, full_genome
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace
from tests.networks import Branching, Recurrent, example, make
from tests.space.cases import CASES, RESIZABLE, genomes, space_of

every = pytest.mark.parametrize("name", CASES)

MODELS: dict[str, CostModel] = {}


def model_of(name):
    if name not in MODELS:
        MODELS[name] = CostModel.from_space(space_of(name))
    return MODELS[name]


@pytest.mark.parametrize(
    ("module", "costs"),
    [
        pytest.param(nn.Conv2d(3, 5, 3, padding=1), Costs(5 * 3 * 9 + 5, 5 * 3 * 9 * 64), id="convolution"),
        pytest.param(nn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False), Costs(54, 54 * 16), id="depthwise"),
        pytest.param(nn.Conv2d(3, 4, (1, 8)), Costs(100, 96 * 8), id="oblong"),
        pytest.param(nn.ConvTranspose2d(3, 5, 2, 2, bias=False), Costs(60, 60 * 64), id="transposed"),
        pytest.param(nn.Sequential(nn.Flatten(), nn.Linear(192, 7)), Costs(192 * 7 + 7, 192 * 7), id="linear"),
        pytest.param(nn.Linear(8, 4), Costs(36, 32 * 24), id="linear at each position"),
        pytest.param(nn.BatchNorm2d(3), Costs(6, 0), id="batch norm"),
        pytest.param(nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)), Costs(0, 0), id="nothing"),
    ],
)
def test_what_is_counted(module, costs):
    assert count(module, torch.zeros(1, 3, 8, 8)) == costs


def test_a_layer_used_three_times_has_its_parameters_once_and_its_work_three_times():
    network = make(Recurrent)
    branch = [network.branch[0], network.branch[3]]
    positions = layer_positions(network, example())
    assert positions["branch.0"] == positions["branch.3"] == 3 * 64
    macs = sum(layer.weight.numel() for layer in branch) * 3 * 64 + network.stem[0].weight.numel() * 64 + 8 * 4
    assert count(network, example()) == Costs(sum(p.numel() for p in network.parameters()), macs)


@pytest.mark.parametrize(
    ("name", "costs"),
    [
        ("resnet8", Costs(77_754, 9_345_920)),
        ("resnet20", Costs(272_186, 31_021_952)),
        ("mobilenetv2-tiny", Costs(63_930, 4_029_472)),
    ],
)
def test_the_built_in_prototypes(name, costs):
    assert count(PROTOTYPES[name](1, 10), torch.zeros(1, 1, 28, 28)) == costs


def test_counting_leaves_no_trace():
    network = make(Branching).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    count(network, example())
    assert network.training
    assert not any(layer._forward_hooks for layer in network.modules())
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


@every
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_the_polynomials_are_exact_at_whole_genomes(name, data):
    space = space_of(name)
    genome = data.draw(genomes(space))
    network = materialise(space, genome, identity_ranking(space.groups))
    assert model_of(name).of(genome) == count(network, space.example)


@every
def test_the_full_genome_costs_what_the_prototype_does(name):
    space = space_of(name)
    assert model_of(name).of(full_genome(space.groups, space.blocks)) == count(space.module, space.example)


@every
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_gradients_are_finite_and_more_never_costs_less(name, data):
    space, model = space_of(name), model_of(name)
    widths = [data.draw(st.floats(allowed_widths(g.channels)[0], g.channels)) for g in space.groups]
    kept = [data.draw(st.floats(0, 1)) for _ in space.blocks]
    widths = torch.tensor(widths, dtype=torch.float64, requires_grad=True)
    kept = torch.tensor(kept, dtype=torch.float64, requires_grad=True)
    chosen = torch.tensor([data.draw(st.floats(0, 1)) for _ in space.resolutions]).double().requires_grad_()
    params, macs = model(widths, kept, chosen)
    for cost, inputs in ((params, [widths, kept]), (macs, [widths, kept, chosen])):
        for gradient in torch.autograd.grad(cost, inputs, retain_graph=True):
            assert torch.isfinite(gradient).all()
            assert (gradient >= 0).all()


@every
def test_with_everything_kept_every_group_and_block_costs_something(name):
    space, model = space_of(name), model_of(name)
    widths = torch.tensor([float(g.channels) for g in space.groups], dtype=torch.float64, requires_grad=True)
    kept = torch.ones(len(space.blocks), dtype=torch.float64, requires_grad=True)
    for cost in model(widths, kept, torch.eye(len(space.resolutions)).double()[0]):
        for gradient in torch.autograd.grad(cost, [widths, kept], retain_graph=True):
            assert (gradient > 0).all()


@pytest.mark.parametrize("name", RESIZABLE)
def test_fewer_pixels_cost_fewer_macs_and_as_many_parameters(name):
    space, model = space_of(name), model_of(name)
    full = full_genome(space.groups, space.blocks)
    costs = [model.of(full.model_copy(update={"resolution": size})) for size in (None, *space.resolutions[1:])]
    assert len(costs) == 4
    assert len({cost.params for cost in costs}) == 1
    macs = [cost.macs for cost in costs]
    assert macs == sorted(macs, reverse=True)
    assert macs[-1] < 0.45 * macs[0]


@pytest.mark.parametrize("name", ["residual", "nested", "dense", "mobile@56"])
def test_a_batch_is_costed_like_its_members(name):
    space, model = space_of(name), model_of(name)
    random = torch.Generator().manual_seed(0)
    widths = 1 + 7 * torch.rand(2, 3, len(space.groups), generator=random, dtype=torch.float64)
    kept = torch.rand(2, 3, len(space.blocks), generator=random, dtype=torch.float64)
    chosen = torch.rand(2, 3, len(space.resolutions), generator=random, dtype=torch.float64)
    params, macs = model(widths, kept, chosen)
    assert params.shape == macs.shape == (2, 3)
    one = model(widths[1, 2], kept[1, 2], chosen[1, 2])
    assert torch.allclose(torch.stack(one), torch.stack([params[1, 2], macs[1, 2]]), rtol=1e-12)


def test_a_frozen_module_is_a_constant_part_of_the_cost():
    space = trace(make(Branching), example(), ("middle.0",))
    model = CostModel.from_space(space)
    frozen = sum(p.numel() for p in space.module.get_submodule("middle.0").parameters())
    for width in (4, 8, 12):
        genome = full_genome(space.groups, space.blocks).model_copy(update={"widths": {"last.0": width}})
        network = materialise(space, genome, identity_ranking(space.groups))
        assert model.of(genome) == count(network, example())
        assert sum(p.numel() for p in network.get_submodule("middle.0").parameters()) == frozen
