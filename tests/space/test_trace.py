import pytest
import torch
from torch import nn

from edgesynth.errors import PrototypeError
from edgesynth.space.genome import allowed_widths, canonical
from edgesynth.space.groups import in_words
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace
from edgesynth.space.trial import trial_surgery
from tests.networks import BranchesItself, Branching, FrozenParameters, HardView, Plain, Residual, example, make
from tests.space.cases import CASES, prototype, space_of

GROUPS = {
    "plain": {"0": (8, ["0", "1"]), "3": (12, ["3"])},
    "frozen-parameters": {"0": (8, ["0", "1"]), "3": (12, ["3"])},
    "dropout": {"0": (8, ["0", "1"]), "4": (16, ["4", "5"])},
    "transposed": {"0": (8, ["0", "1"]), "3": (12, ["3"]), "5": (8, ["5", "6"])},
    "spatial-linear": {"0": (8, ["0", "1"]), "4": (16, ["4"])},
    "residual": {
        "stem.0": (8, ["stem.0", "stem.1", "first.branch.3", "first.branch.4", "second.conv2", "second.bn2"]),
        "first.branch.0": (12, ["first.branch.0", "first.branch.1"]),
        "second.conv1": (8, ["second.conv1", "second.bn1"]),
        "down.0": (16, ["down.0", "down.1", "side", "third.branch.3", "third.branch.4"]),
        "third.branch.0": (16, ["third.branch.0", "third.branch.1"]),
    },
    "pre-activation": {"stem.0": (8, ["stem.0", "stem.1", *(f"blocks.{i}.{j}" for i in range(3) for j in (1, 2))])},
    "nested": {
        "stem.0": (8, ["stem.0", "stem.1", "leave.1", "leave.2"]),
        "enter.0": (12, ["enter.0", "enter.1", "inner.3", "inner.4"]),
        "inner.0": (16, ["inner.0", "inner.1"]),
    },
    "recurrent": {
        "stem.0": (8, ["stem.0", "stem.1", "branch.3", "branch.4"]),
        "branch.0": (12, ["branch.0", "branch.1"]),
    },
    "dense": {
        "one.0": (8, ["one.0", "one.1", "norm", "depthwise"]),
        "two": (12, ["two", "norm", "depthwise"]),
        "three": (8, ["three"]),
    },
    "mobile": {
        "0": (8, ["0", "1", "3.layers.5", "3.layers.6", "4.layers.5", "4.layers.6"]),
        "3.layers.0": (24, ["3.layers.0", "3.layers.2", "3.layers.3"]),
        "4.layers.0": (24, ["4.layers.0", "4.layers.2", "4.layers.3"]),
        "5": (16, ["5", "6"]),
    },
    "grouped": {"6": (12, ["6", "7"])},
    "scaled": {"stem.0": (8, ["stem.0", "stem.1"]), "last.0": (12, ["last.0", "last.1"])},
}


@pytest.mark.parametrize("name", GROUPS)
def test_the_channels_that_hang_together_are_found(name):
    assert {group.name: (group.channels, group.layers) for group in space_of(name).groups} == GROUPS[name]


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet8", [16, 16, 32, 32, 64, 64]),
        ("resnet20", [16, 16, 16, 16, 32, 32, 32, 32, 64, 64, 64, 64]),
        ("mobilenetv2-tiny", [16, 8, 32, 16, 64, 64, 24, 96, 96, 96, 40, 160, 160, 128]),
    ],
)
def test_the_channels_of_the_built_in_prototypes(name, channels):
    assert sorted(group.channels for group in space_of(name).groups) == sorted(channels)


@pytest.mark.parametrize("name", CASES)
def test_tracing_leaves_the_users_own_module_alone(name):
    module, image = prototype(name)
    module.train()
    flags = {key: parameter.requires_grad for key, parameter in module.named_parameters()}
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    space = trace(module, image)
    trial_surgery(space)
    with torch.no_grad():
        for parameter in space.module.parameters():
            parameter.zero_()
    assert module.training
    assert {key: parameter.requires_grad for key, parameter in module.named_parameters()} == flags
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())
    module.eval()


def test_parameters_that_were_frozen_for_training_hide_nothing():
    module = make(FrozenParameters)
    assert not module[0].weight.requires_grad
    assert all(parameter.requires_grad for parameter in trace(module, example()).module.parameters())


class Two(nn.Module):
    """Two modules that cannot be traced, one of them inside another that fails for what it answers."""

    def __init__(self, question: nn.Module) -> None:
        super().__init__()
        layers = list(Plain())
        self.first, self.last = nn.Sequential(*layers[:3]), nn.Sequential(*layers[3:])
        self.middle, self.asking = make(Branching).middle, Asking(question)

    def forward(self, x):
        return self.last(self.asking(self.middle(self.first(x))))


class Asking(nn.Module):
    def __init__(self, question: nn.Module) -> None:
        super().__init__()
        self.question = question

    def forward(self, x):
        return x if self.question(x) else -x


class Positive(nn.Module):
    """Answers with true or false."""

    def forward(self, x):
        return bool(x.sum() > 0)


def test_what_cannot_be_traced_stays_as_it_is_and_is_named():
    module, image = make(Branching), example()
    space = trace(module, image)
    reason = space.whole.pop("middle.0")
    assert reason.startswith("cannot be traced: symbolically traced variables cannot be used as inputs to control flow")
    assert len(reason.splitlines()) == 1
    assert [group.name for group in space.groups] == ["last.0"]
    assert space.whole == {
        "stem.0": "feeds the frozen module 'middle.0'",
        "head.2": "its channels are an output of the network",
    }
    assert torch.equal(space.module(image), module(image))


def test_several_parts_that_cannot_be_traced_all_stay_and_an_outer_one_stands_for_an_inner_one():
    module, images = Two(Positive()).eval(), example(3)
    space = trace(module, example())
    frozen = [name for name, reason in space.whole.items() if reason.startswith("cannot be traced: ")]
    assert sorted(frozen) == ["asking", "middle.0"]
    assert torch.equal(space.module(images), module(images))
    assert trace(module, example(), ("middle", "asking.question")).whole["middle"] == "frozen by --freeze"


def test_where_freezing_does_not_help_what_failed_first_is_named():
    with pytest.raises(PrototypeError) as error:
        trace(Asking(Positive()), example())
    message = str(error.value)
    assert message.startswith("module 'question' (Positive) cannot be traced: ")
    assert "; with it kept as it is, the prototype still cannot be traced: " in message
    assert message.endswith("in Asking.forward itself; rewrite it without data-dependent control flow, "
                            "or freeze a module around it with --freeze")  # fmt: skip
    assert len(message.splitlines()) == 1


def test_what_cannot_be_traced_in_the_outermost_forward_cannot_be_frozen():
    with pytest.raises(PrototypeError, match=r"in BranchesItself\.forward itself; move that part into a sub-module"):
        trace(make(BranchesItself), example())


@pytest.mark.parametrize(
    ("kind", "frozen", "free"),
    [
        (Branching, "middle.0", ["last.0"]),
        (Branching, "middle", ["last.0"]),
        (HardView, "viewer", ["early.0"]),
        (Residual, "first", ["second.conv1", "down.0", "third.branch.0"]),
        (Residual, "first.branch.0", ["second.conv1", "down.0", "third.branch.0"]),
        (Residual, "third", ["stem.0", "first.branch.0", "second.conv1"]),
    ],
)
def test_a_frozen_module_stays_as_it_is_and_the_rest_can_be_pruned(kind, frozen, free):
    module, image = make(kind), example()
    space = trace(module, image, (frozen,))
    assert trial_surgery(space) is space
    assert space.whole[frozen] == "frozen by --freeze"
    assert [group.name for group in space.groups] == free
    assert not any(layer.startswith(frozen) for block in space.blocks for layer in block.layers)
    widths = {group.name: allowed_widths(group.channels)[0] for group in space.groups}
    genome = canonical(widths, {block.name: False for block in space.blocks}, space.groups, space.blocks)
    network = materialise(space, genome, identity_ranking(space.groups))
    assert network(image).shape == module(image).shape
    original, kept = module.get_submodule(frozen).state_dict(), network.get_submodule(frozen).state_dict()
    assert original.keys() == kept.keys()
    assert all(torch.equal(original[key], kept[key]) for key in original)
    assert sum(p.numel() for p in network.parameters()) < sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", ["middle.7", "nothing"])
def test_freezing_what_is_not_there_is_an_error(name):
    with pytest.raises(PrototypeError, match=rf"^cannot freeze '{name}': the prototype has no module of that name$"):
        trace(make(Branching), example(), (name,))


def test_freezing_everything_leaves_nothing_to_prune():
    with pytest.raises(PrototypeError, match="found no channels that could be pruned"):
        trace(make(Residual), example(), ("stem", "first", "second", "down", "side", "third"))


def test_a_single_layer_leads_to_the_output():
    with pytest.raises(
        PrototypeError,
        match=r"found no channels that could be pruned: 0 \(its channels are an output of the network\)$",
    ):
        trace(nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), example())


def test_an_image_of_the_wrong_shape_is_one_line_with_the_cause(capfd):
    with pytest.raises(PrototypeError, match=r"^the prototype fails on an input of shape \(1, 3, 8, 8\): .*channels"):
        trace(make(Plain), torch.zeros(1, 3, 8, 8))
    assert capfd.readouterr() == ("", "")


def test_an_answer_that_is_no_tensor_is_said_before_anything_is_pruned():
    class Texts(Plain):
        def forward(self, x):
            return {"classes": super().forward(x), "text": "cat"}

    with pytest.raises(PrototypeError, match="the network answers with str, not with tensors"):
        trace(Texts(), example())


class Detaching(nn.Module):
    """No gradient, and so no torch-pruning, gets to its first layer; one of its outputs is a class index."""

    def __init__(self):
        super().__init__()
        self.early, self.late, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 4)

    def forward(self, x):
        logits = self.head(torch.relu(self.late(self.early(x).detach()))).flatten(1)
        return logits, logits.argmax(dim=1)


def test_what_torch_pruning_cannot_see_stays_whole():
    space = trace(Detaching().eval(), example())
    assert trial_surgery(space) is space
    assert [group.name for group in space.groups] == ["late"]
    assert space.whole == {
        "early": "no gradient flows through it",
        "head": "its channels are an output of the network",
    }


def test_reasons_in_words_name_the_layers_that_share_one_together():
    whole = {"a": "grouped", "b": "coupled with 'a': grouped", "c": "its channels are an output of the network"}
    assert in_words(whole) == "a, b (grouped); c (its channels are an output of the network)"
