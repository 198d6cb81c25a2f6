"""Layers of an estimate that are named alike in a prototype and in what is made of it."""

from pathlib import Path

import pytest
import torch
from edgesynth_exporters.export import export_onnx
from torch import fx, nn

from edgesynth.energy.estimate import estimate
from edgesynth.prototypes import mobilenetv2_tiny, resnet20
from edgesynth.records import Genome, Measurement
from edgesynth.space.genome import canonical
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import Space, trace
from edgesynth.synthesis.layer_names import with_layer_names


@pytest.fixture(scope="module")
def space() -> Space:
    return trace(resnet20(1, 10), torch.zeros(1, 1, 32, 32))


def named(module: nn.Module, folder: Path) -> Measurement:
    path = folder / "net.onnx"
    export_onnx(module.eval(), torch.zeros(1, 1, 32, 32), path, 13)
    return with_layer_names(estimate(path, "tx2-sim"), path, module)


def layers(record: Measurement) -> dict[str, str]:
    """Kinds by name, which must be unique."""
    assert record.layers is not None
    found = {cost.layer: cost.kind for cost in record.layers}
    assert len(found) == len(record.layers)
    return found


def without(space: Space, *dropped: str) -> Genome:
    widths = {group.name: group.channels for group in space.groups}
    return canonical(widths, {b.name: b.name not in dropped for b in space.blocks}, space.groups, space.blocks)


def test_a_kernel_is_named_after_the_module_that_it_computes(space: Space, tmp_path: Path) -> None:
    found = layers(named(space.module, tmp_path))
    modules = {name for name, child in space.module.named_modules() if isinstance(child, nn.Conv2d | nn.Linear)}
    assert {name for name, kind in found.items() if kind in ("convolution", "matrix product")} == modules
    assert [name for name, kind in found.items() if kind == "pooling"] == ["pooling before head"]
    assert list(found.items())[-1] == ("overhead and idle", "rest")


def test_names_stay_where_a_block_goes(space: Space, tmp_path: Path) -> None:
    gone = space.blocks[1]
    network = materialise(space, without(space, gone.name), identity_ranking(space.groups))
    before, after = layers(named(space.module, tmp_path)), layers(named(network, tmp_path))
    assert set(before) - set(after) == set(gone.layers) & set(before)
    assert set(after) <= set(before)


def test_depthwise_layers_have_names_too(tmp_path: Path) -> None:
    space = trace(mobilenetv2_tiny(1, 10), torch.zeros(1, 1, 32, 32))
    found = layers(named(space.module, tmp_path))
    assert not [name for name in found if name.startswith("/")]
    assert "depthwise" in found.values()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.pool(self.conv(torch.sigmoid(self.conv(images)))).flatten(1)
        return found


def test_what_is_called_twice_is_counted(tmp_path: Path) -> None:
    found = layers(named(fx.symbolic_trace(Twice()), tmp_path))
    assert [name for name in found if name.startswith("conv")] == ["conv", "conv (2)"]
    assert "pooling at the end" in found


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 3, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(images, self.weight).flatten(1)


@pytest.mark.parametrize("module", [fx.symbolic_trace(Functional()), Functional()])
def test_names_that_cannot_be_told_stay_those_of_the_file(module: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(module.eval(), torch.zeros(1, 1, 32, 32), path, 13)
    record = estimate(path, "tx2-sim")
    assert with_layer_names(record, path, module) == record
    plain = record.model_copy(update={"layers": None})
    assert with_layer_names(plain, path, module) == plain
