"""Where, in which layout and with which precision networks are trained."""

import pytest
import torch
from torch import nn

from edgesynth.synthesis.compute import autocast, layout_of, precision
from edgesynth.synthesis.training import Recipe, outputs, train
from tests.synthesis.toys import TASK, Residual, data, make

CPU = torch.device("cpu")


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def number(request, monkeypatch):
    """Every precision works on every CPU, if slowly."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": request.param is torch.bfloat16}, False)
    return request.param


def test_bfloat16_where_the_cpu_has_matrix_units(number):
    assert precision(CPU) is number
    assert precision(torch.device("cuda")) is torch.float32
    with autocast(CPU):
        assert nn.Conv2d(1, 2, 3)(torch.zeros(1, 1, 4, 4)).dtype is number


def test_a_network_learns_whatever_the_precision_and_stays_float32(number):
    network = make(Residual)
    train(network, TASK, data().train, Recipe(8), seed=1, mirror=False)
    assert {p.dtype for p in network.state_dict().values()} <= {torch.float32, torch.int64}
    assert TASK.evaluate(outputs(network, data().val.images), data().val.targets) > 0.8


def test_what_is_judged_runs_in_float32(number):
    seen = []
    network = make(Residual)
    layer = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    layer.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    outputs(network, data().val.images)
    assert set(seen) == {torch.float32}


@pytest.mark.parametrize(
    ("channels", "number", "layout"),
    [
        (15, torch.float32, torch.contiguous_format),
        (16, torch.float32, torch.channels_last),
        (31, torch.bfloat16, torch.contiguous_format),
        (32, torch.bfloat16, torch.channels_last),
    ],
)
def test_thin_strided_pointwise_convolutions_are_kept_out_of_channels_last(channels, number, layout):
    assert layout_of(nn.Conv2d(channels, 8, 1, stride=2), number) is layout
    assert layout_of(nn.Conv2d(channels, 8, 1), number) is torch.channels_last


SHAPES = [
    (channels, stride, kernel, layout)
    for channels in (1, 2, 4, 6, 12, 16, 24, 32, 40, 48, 64)
    for stride in (1, 2)
    for kernel in (1, 3)
    for layout in (torch.contiguous_format, torch.channels_last)
    if layout is torch.contiguous_format or (stride, kernel) != (2, 1) or channels >= 32  # decision 6
]


@pytest.mark.parametrize(("channels", "stride", "kernel", "layout"), SHAPES)
def test_gradients_agree_with_those_of_float32_in_every_layout_that_is_safe(channels, stride, kernel, layout):
    torch.manual_seed(channels)
    images, layer = torch.randn(4, channels, 9, 9), nn.Conv2d(channels, 12, kernel, stride, kernel // 2)
    expected = _gradient(layer, images, torch.contiguous_format, torch.float32)
    found = _gradient(layer, images, layout, torch.bfloat16)
    assert torch.allclose(found, expected, atol=0.02 * float(expected.abs().max()))


def _gradient(layer, images, layout, number):
    layer.zero_grad()
    layer.to(memory_format=layout)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=number is torch.bfloat16):
        answers = layer(images.to(memory_format=layout))
    answers.float().pow(2).sum().backward()
    return layer.weight.grad.clone()
