"""The architecture of a finished network, out of its result file: what latency and energy depend on, weights apart."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgesynth.prototypes import PROTOTYPES
from edgesynth.records import Genome
from edgesynth.space.cost import Costs, count
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace

__all__ = ["rebuild"]


def rebuild(prototype: str, input_shape: tuple[int, int, int], classes: int, result: Mapping[str, Any]) -> nn.Module:
    """The network with random weights; the prototype itself where the result has neither genome nor widths.

    Raises ValueError where it has other sizes than the result says.
    """
    torch.manual_seed(0)
    example = torch.zeros(1, *input_shape)
    module: nn.Module = PROTOTYPES[prototype](input_shape[0], classes).eval()
    if result.get("genome") is not None:
        space = trace(module, example)
        module = materialise(space, Genome.model_validate(result["genome"]), identity_ranking(space.groups))
    elif result.get("widths") is not None:
        module = _narrowed(module, result["widths"], example)
    sizes, told = count(module, example), Costs(params=result["params"], macs=result["macs"])
    if sizes != told:
        raise ValueError(f"rebuilt with {sizes}, where the result has {told}")
    return module


def _narrowed(prototype: nn.Module, widths: Mapping[str, int], example: Tensor) -> nn.Module:
    """The prototype with convolutions of these output channels; every layer takes the channels that reach it."""
    module = copy.deepcopy(prototype)
    names = {layer: name for name, layer in module.named_modules()}
    hooks = [
        layer.register_forward_pre_hook(partial(_fit, width=widths.get(names[layer])))
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
    ]
    with torch.no_grad():
        module(example)
    for hook in hooks:
        hook.remove()
    return module


def _fit(layer: nn.Module, inputs: tuple[Tensor], *, width: int | None) -> None:
    """Give the layer as many inputs as its first tensor has channels, and `width` outputs if it is a convolution."""
    channels = inputs[0].shape[1]
    if isinstance(layer, nn.Conv2d) and width is not None:
        layer.in_channels, layer.out_channels = channels, width
        layer.weight = nn.Parameter(0.1 * torch.randn(width, channels, *layer.kernel_size))
        if layer.bias is not None:
            layer.bias = nn.Parameter(torch.zeros(width))
    elif isinstance(layer, nn.BatchNorm2d):
        layer.__init__(channels, eps=layer.eps)  # type: ignore[misc]  # as new, in its place
        layer.eval()
    elif isinstance(layer, nn.Linear):
        layer.in_features = channels
        layer.weight = nn.Parameter(0.1 * torch.randn(layer.out_features, channels))
