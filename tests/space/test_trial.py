from dataclasses import replace

import pytest
import torch
from torch import nn

from edgesynth.errors import PrototypeError
from edgesynth.space.cost import count
from edgesynth.space.trace import trace
from edgesynth.space.trial import trial_surgery
from tests.networks import HardView, Plain, Residual, Viewer, ViewInBlock, conv, example, head, make
from tests.space.cases import CASES, space_of


@pytest.mark.parametrize("name", CASES)
def test_what_can_be_pruned_passes(name):
    assert trial_surgery(space_of(name)) is space_of(name)


@pytest.mark.parametrize(
    ("kind", "groups", "blocks", "broken"),
    [
        (HardView, ["early.0"], [], "late.0"),
        # Hidden in the smallest network, which has no such block.
        (ViewInBlock, ["stem.0"], ["add"], "inside.0"),
    ],
)
def test_a_size_written_as_a_number_keeps_whole_what_it_holds_and_nothing_else(kind, groups, blocks, broken, capfd):
    space = trial_surgery(trace(make(kind), example()))
    assert [group.name for group in space.groups] == groups
    assert [block.name for block in space.blocks] == blocks
    assert space.whole[broken].startswith("pruning it ")
    assert len(space.whole[broken].splitlines()) == 1
    assert capfd.readouterr() == ("", "")


class OnlyViewed(nn.Sequential):
    """Every channel that could be pruned ends in a size written as a number."""

    def __init__(self):
        super().__init__(*conv(1, 8, 2), nn.ReLU(), Viewer(), nn.Linear(128, 4))


def test_where_nothing_is_left_to_prune_it_is_an_error_with_the_cause(capfd):
    with pytest.raises(PrototypeError) as error:
        trial_surgery(trace(make(OnlyViewed), example()))
    message = str(error.value)
    assert message.startswith(
        "the prototype does not survive pruning: it breaks the network: shape '[-1, 128]' is invalid"
    )
    assert message.endswith("look for sizes written as numbers in forward() (use flatten(1) or x.shape), "
                            "or freeze the module that holds them with --freeze")  # fmt: skip
    assert len(message.splitlines()) == 1
    assert capfd.readouterr() == ("", "")


class Reshaping(nn.Module):
    """Its number of outputs depends on its channels."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*list(Plain())[:5])

    def forward(self, x):
        return self.body(x).flatten(2).mean(dim=2).view(-1, 2).repeat(1, 2)


def test_an_output_that_follows_the_channels_is_left_whole():
    space = trace(make(Reshaping), example())
    assert [group.name for group in space.groups] == ["body.0"]
    assert trial_surgery(space) is space


class Rolled(nn.Module):
    """Its channels change places, which torch-pruning does not see: all shapes fit, and all weights are misplaced."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.last = nn.Sequential(*conv(8, 12), nn.ReLU())
        self.head = head(12)

    def forward(self, x):
        return self.head(self.last(torch.roll(self.stem(x), 3, dims=1)))


@pytest.mark.parametrize("start", ["random", "zero"])
def test_channels_that_change_places_are_found_though_every_shape_fits(start):
    module = make(Rolled)
    if start == "zero":
        nn.init.zeros_(module.last[0].weight)
    space = trial_surgery(trace(module, example()))
    assert [group.name for group in space.groups] == ["last.0"]
    assert space.whole["stem.0"] == "pruning it changes what the other channels mean"


def test_a_block_that_is_none_stays_and_the_others_can_still_be_dropped():
    space = trace(make(Residual), example())
    first, *others = space.blocks
    wrong = first.model_copy(update={"layers": first.layers[:-1]})
    trial = trial_surgery(replace(space, blocks=(wrong, *others)))
    assert list(trial.blocks) == others
    assert trial.groups == space.groups
    assert trial.whole.keys() - space.whole.keys() == {"first.branch"}
    assert trial.whole["first.branch"].startswith("dropping it breaks the network: block first.branch is not in this ")


class Sometimes(nn.Module):
    """Convolves what is positive in the mean and passes on the rest, so its cost depends on what it is fed."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.conv(x) if x.mean() > 0 else x


def test_what_an_untraced_module_spends_from_case_to_case_is_no_fault_of_the_pruning():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), Sometimes(), *head(8))
    counts = {count(module, image).macs for image in torch.randn(20, 1, 1, 8, 8)}
    assert len(counts) == 2
    for image in torch.randn(6, 1, 1, 8, 8):
        space = trace(module, image)
        assert trial_surgery(space) is space
        assert [group.name for group in space.groups] == ["0"]
