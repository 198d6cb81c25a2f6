"""The prototypes with a name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from edgesynth.prototypes.mobilenet import mobilenetv2_tiny
from edgesynth.prototypes.resnet import resnet8, resnet20

__all__ = ["PROTOTYPES"]

PROTOTYPES: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {
        "mobilenetv2-tiny": mobilenetv2_tiny,
        "resnet20": resnet20,
        "resnet8": resnet8,
    }
)
"""Name on the command line to function(in_channels, num_classes)."""
