"""What a contestant hands over, and networks of any widths."""

import copy
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgesynth.records import Genome, Network

__all__ = ["Compressed", "ContestantError", "reshaped"]


class ContestantError(Exception):
    """A contestant could not do what was asked; the message is shown on the page."""


@dataclass(frozen=True)
class Compressed:
    """A small network before finishing. `cpu_s` is what finding it cost; `taught` says whether it is distilled;
    `genome` is there for networks of edgesynth's space; `finished` where it comes finished, with accuracies that were
    taken then; `finished_cpu_s` is what that cost, `environment` where it was;
    `details` is anything worth keeping in the result."""

    module: nn.Module
    cpu_s: float
    _: KW_ONLY
    taught: bool = True
    genome: Genome | None = None
    finished: Network | None = None
    finished_cpu_s: float = 0.0
    environment: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def reshaped(prototype: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A network built as the prototype is, with layers of the sizes that a state dict has, and its weights.

    For networks of convolutions, batch norms and linear layers.
    """
    module = copy.deepcopy(prototype)
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = state[f"{name}.weight"]
            layer.weight = nn.Parameter(torch.empty_like(weight))
            if layer.bias is not None:
                layer.bias = nn.Parameter(torch.empty_like(state[f"{name}.bias"]))
            if isinstance(layer, nn.Conv2d):
                layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups
            else:
                layer.out_features, layer.in_features = weight.shape[0], weight.shape[1]
        elif isinstance(layer, nn.BatchNorm2d):
            layer.num_features = len(state[f"{name}.weight"])
            layer.weight = nn.Parameter(torch.empty_like(state[f"{name}.weight"]))
            layer.bias = nn.Parameter(torch.empty_like(state[f"{name}.bias"]))
            layer.running_mean = torch.empty_like(state[f"{name}.running_mean"])
            layer.running_var = torch.empty_like(state[f"{name}.running_var"])
    module.load_state_dict(state)
    return module.eval()
