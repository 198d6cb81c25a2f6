"""Input resolution as a gene: where it may change, what that saves, and that the file still takes the same images."""

import numpy as np
import onnx
import pytest
import torch
from edgesynth_exporters.export import export_onnx
from edgesynth_exporters.parity import check_parity, run_onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgesynth.energy.estimate import estimate
from edgesynth.prototypes import PROTOTYPES
from edgesynth.space.cost import CostModel, count
from edgesynth.space.genome import full_genome
from edgesynth.space.resolution import possible_resolutions, resized
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace
from tests.networks import Plain, Residual, conv, example, make
from tests.space.cases import RESIZABLE, genomes, prototype, space_of


class Flattening(nn.Sequential):
    """Counts on a map of 28 × 28, as classifiers without pooling do."""

    def __init__(self) -> None:
        super().__init__(*conv(1, 8, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 28 * 28, 4))


class PerPixel(nn.Sequential):
    """One answer for each pixel."""

    def __init__(self) -> None:
        super().__init__(*conv(1, 8), nn.ReLU(), nn.Conv2d(8, 4, 1))


class Striding(nn.Sequential):
    """Halves the image four times and then wants at least 3 × 3 of it."""

    def __init__(self) -> None:
        steps = [layer for _ in range(4) for layer in (*conv(8, 8, 2), nn.ReLU())]
        super().__init__(
            *conv(1, 8), *steps, nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
        )


class Sparing(nn.Module):
    """Answers with several tensors; the second has the size of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Plain()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"classes": self.body(x), "mask": x > 0}


@pytest.mark.parametrize(
    ("kind", "shape", "sizes"),
    [
        pytest.param(Residual, (56, 56), [56, 48, 40, 36], id="pooled"),
        pytest.param(Residual, (48, 48), [48, 40, 36, 32], id="48: not below 32"),
        pytest.param(Residual, (36, 36), [36, 32], id="36: three shares round to 32 or below"),
        pytest.param(Residual, (64, 64), [64, 56, 48, 40, 32], id="64: steps of 8"),
        pytest.param(Residual, (224, 224), [224, 192, 160, 128], id="224: steps of 32"),
        pytest.param(Residual, (28, 28), [28], id="28: every pixel tells something"),
        pytest.param(Residual, (32, 32), [32], id="32"),
        pytest.param(Flattening, (56, 56), [56], id="flattened"),
        pytest.param(PerPixel, (56, 56), [56], id="an answer for each pixel"),
        pytest.param(Striding, (64, 64), [64, 56, 48, 40], id="as long as the network can work"),
        pytest.param(Sparing, (56, 56), [56], id="one of several answers has the size of the image"),
    ],
)
def test_possible_resolutions(kind, shape, sizes):
    module, image = make(kind), torch.zeros(1, 1, *shape)
    assert possible_resolutions(module, image) == tuple((side, side) for side in sizes)


def test_a_user_may_ask_for_smaller_images():
    assert possible_resolutions(make(Residual), torch.zeros(1, 1, 28, 28), 12) == (
        (28, 28),
        (24, 24),
        (20, 20),
        (16, 16),
    )
    assert trace(make(Residual), torch.zeros(1, 1, 24, 24), least_side=20).resolutions == ((24, 24), (20, 20))


def test_an_oblong_image_keeps_its_shape_as_near_as_whole_steps_allow():
    assert possible_resolutions(make(Residual), torch.zeros(1, 1, 48, 96)) == (
        (48, 96),
        (40, 80),
        (36, 72),
        (32, 64),
    )


def test_looking_for_resolutions_says_nothing_and_changes_nothing(capfd):
    module = make(Flattening)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    possible_resolutions(module, torch.zeros(1, 1, 56, 56))
    assert capfd.readouterr() == ("", "")
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_traced_space_knows_its_resolutions():
    assert space_of("residual@56").resolutions == ((56, 56), (48, 48), (40, 40), (36, 36))
    assert space_of("residual").resolutions == ((8, 8),)


@pytest.mark.parametrize("name", RESIZABLE)
def test_a_resized_network_is_the_prototype_on_a_smaller_image(name):
    space, images = space_of(name), example(3, side=56)
    for size in space.resolutions[1:]:
        genome = full_genome(space.groups, space.blocks).model_copy(update={"resolution": size})
        network = materialise(space, genome, identity_ranking(space.groups))
        with torch.no_grad():
            expected = prototype(name)[0](resized(images, size))
            assert torch.equal(network(images), expected)
            assert not torch.allclose(network(images), prototype(name)[0](images))


@pytest.mark.parametrize("name", PROTOTYPES)
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_the_built_in_prototypes_at_64_pixels_are_counted_exactly(name, data):
    if name not in BUILT_IN:
        torch.manual_seed(0)
        space = trace(PROTOTYPES[name](1, 10).eval(), torch.randn(1, 1, 64, 64))
        BUILT_IN[name] = space, CostModel.from_space(space)
    space, model = BUILT_IN[name]
    assert space.resolutions == ((64, 64), (56, 56), (48, 48), (40, 40), (32, 32))
    genome = data.draw(genomes(space))
    network = materialise(space, genome, identity_ranking(space.groups))
    assert count(network, space.example) == model.of(genome)
    assert network(space.example).shape == (1, 10)


BUILT_IN: dict[str, tuple] = {}


@pytest.mark.parametrize("name", [*RESIZABLE, "resnet8"])
def test_the_exported_file_takes_the_prototypes_images_and_answers_alike(name, tmp_path):
    if name in PROTOTYPES:
        torch.manual_seed(0)
        space = trace(PROTOTYPES[name](1, 10).eval(), torch.randn(1, 1, 64, 64))
    else:
        space = space_of(name)
    genome = full_genome(space.groups, space.blocks).model_copy(
        update={
            "blocks": {block.name: index > 0 for index, block in enumerate(space.blocks)},
            "resolution": space.resolutions[-1],
        }
    )
    network = materialise(space, genome, identity_ranking(space.groups))
    file = tmp_path / "model.onnx"
    export_onnx(network, space.example, file, 13)
    model = onnx.load(file)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [13]
    assert [node.op_type for node in model.graph.node].count("Resize") == 1
    side = space.resolutions[0][0]
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 1, side, side]
    images = example(12, side=side)
    with torch.no_grad():
        expected = network(images).numpy()
    assert check_parity(file, images.numpy(), expected).argmax_agreement == 1.0
    assert np.abs(run_onnx(file, images.numpy()) - expected).max() < 1e-4


def test_a_smaller_image_is_faster_and_thriftier_on_the_estimated_target(tmp_path):
    """The estimate must see through the resizing to the smaller layers behind it."""
    torch.manual_seed(0)
    space = trace(PROTOTYPES["resnet20"](1, 10).eval(), torch.randn(1, 1, 64, 64))
    figures = []
    for size in (None, space.resolutions[-1]):
        genome = full_genome(space.groups, space.blocks).model_copy(update={"resolution": size})
        network = materialise(space, genome, identity_ranking(space.groups))
        export_onnx(network, space.example, tmp_path / "model.onnx", 13)
        measurement = estimate(tmp_path / "model.onnx", "tx2-sim")
        figures.append((measurement.latency_ms.mean, measurement.energy_mj))
    (slow, hungry), (fast, thrifty) = figures
    assert fast < 0.8 * slow
    assert thrifty < 0.8 * hungry
