"""A toy data set and a toy prototype that has learned it, for tests of learning."""

from functools import cache

import torch
from torch import nn

from edgesynth.data import DataSet
from edgesynth.data.fake import FakeSource
from edgesynth.space.trace import Space, trace
from edgesynth.synthesis.training import Recipe, train
from edgesynth.tasks import Classification
from tests.networks import Residual, example, make

__all__ = ["TASK", "data", "same", "trained_space"]

TASK = Classification()


@cache
def data(images: int = 400) -> DataSet:
    return FakeSource(images=images, shape=(1, 8, 8)).load()


@cache
def trained_space() -> Space:
    """Of a residual network that knows the toy data. Not to be changed."""
    network = make(Residual)
    train(network, TASK, data().train, Recipe(epochs=8, peak_lr=0.1), seed=0, mirror=False)
    return trace(network, example())


def same(one: nn.Module | dict[str, torch.Tensor], other: nn.Module | dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are equal bit for bit."""
    one, other = (x.state_dict() if isinstance(x, nn.Module) else x for x in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
