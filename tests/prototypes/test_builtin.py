import copy
from collections.abc import Iterator

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, fx, nn

from edgesynth.prototypes import PROTOTYPES, resnet20

CLASSES = 7

every = pytest.mark.parametrize("name", PROTOTYPES)
every_shape = pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 33, 17)], ids=str)


def make(name: str, channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return PROTOTYPES[name](channels, CLASSES).eval()


def count_macs(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of convolutions and linear layers, biases left out."""
    total = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        weight = module.get_parameter("weight")
        total += output[0].numel() * weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    model(torch.zeros(1, *shape))
    return total


@every
@every_shape
def test_images_of_any_size_become_logits(name: str, shape: tuple[int, int, int]) -> None:
    logits = make(name, shape[0])(torch.randn(2, *shape))
    assert logits.shape == (2, CLASSES)
    assert torch.isfinite(logits).all()


@every
def test_one_seed_gives_one_network(name: str) -> None:
    one, same = make(name).state_dict(), make(name).state_dict()
    assert all(torch.equal(one[key], same[key]) for key in one)
    torch.manual_seed(1)
    other = PROTOTYPES[name](1, CLASSES).state_dict()
    assert not all(torch.equal(one[key], other[key]) for key in one)


@every
def test_it_can_be_traced(name: str) -> None:
    model = make(name)
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(fx.symbolic_trace(model)(x), model(x))


@every
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)], ids=str)
def test_every_group_can_be_halved(name: str, shape: tuple[int, int, int]) -> None:
    model = make(name, shape[0])
    x = torch.randn(1, *shape)
    before = count_macs(copy.deepcopy(model), shape)
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=x)
    groups = 0
    for group in list(graph.get_all_groups(ignored_layers=[model.get_submodule("head")])):
        layer, prune = group[0].dep.target.module, group[0].dep.handler
        width = layer.weight.shape[0]
        graph.get_pruning_group(layer, prune, list(range(width // 2))).prune()
        groups += 1
    assert groups >= 5
    assert model(x).shape == (1, CLASSES)
    assert count_macs(model, shape) < before * 0.4


def droppable(model: nn.Module) -> Iterator[str]:
    """Blocks that give what they get: same shape, whatever the input's."""
    for name, module in model.named_modules():
        if getattr(module, "residual", False) or isinstance(getattr(module, "shortcut", None), nn.Identity):
            yield name


@pytest.mark.parametrize(("name", "count"), [("resnet8", 1), ("resnet20", 7), ("mobilenetv2-tiny", 5)])
def test_residual_blocks_can_be_dropped(name: str, count: int) -> None:
    model = make(name)
    names = list(droppable(model))
    assert len(names) == count
    for block in names:
        parent, _, child = block.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Identity())
    assert model(torch.randn(1, 1, 28, 28)).shape == (1, CLASSES)


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [("resnet8", 77_754, 9_345_920), ("resnet20", 272_186, 31_021_952), ("mobilenetv2-tiny", 63_930, 4_029_472)],
)
def test_size(name: str, params: int, macs: int) -> None:
    model = PROTOTYPES[name](1, 10).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == params
    assert count_macs(model, (1, 28, 28)) == macs


def test_resnet20_has_the_size_that_the_paper_gives() -> None:
    """0.27 million parameters (table 6), and 41 million multiply-accumulates for CIFAR-10."""
    model = resnet20(3, 10).eval()
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == 0.27
    assert round(count_macs(model, (3, 32, 32)) / 1e6) == 41


@every
def test_it_learns(name: str) -> None:
    """A few steps on one batch bring the loss down: gradients reach every parameter."""
    model = make(name).train()
    x, y = torch.randn(16, 1, 12, 12), torch.arange(16) % CLASSES
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] * 0.7
