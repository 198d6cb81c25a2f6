"""Prototypes: the networks that synthesis starts from, built in or the user's own."""

from edgesynth.prototypes.builtin import PROTOTYPES
from edgesynth.prototypes.load import load_prototype
from edgesynth.prototypes.mobilenet import mobilenetv2_tiny
from edgesynth.prototypes.resnet import resnet8, resnet20

__all__ = ["PROTOTYPES", "load_prototype", "mobilenetv2_tiny", "resnet8", "resnet20"]
