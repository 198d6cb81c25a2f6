"""Networks of the kinds that users bring, in the hands of the learner."""

import pytest
import torch
from torch import nn

from edgesynth.data.source import Split
from edgesynth.errors import PrototypeError
from edgesynth.space.genome import allowed_widths, canonical, full_genome
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace
from edgesynth.space.trial import trial_surgery
from edgesynth.synthesis.compute import layout_of
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.probe import probe
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.prototype import prepare_prototype
from edgesynth.synthesis.question import Question
from edgesynth.synthesis.training import Recipe, train
from edgesynth.synthesis.workshop import open_workshop
from tests.networks import Branching, Plain, example, make
from tests.synthesis.toys import TASK, data
from tests.user_networks import MULTIPLE, USERS, Numbers, Shuffled, TwoHeads, UNet


@pytest.mark.parametrize("name", [name for name in USERS if name not in (*MULTIPLE, "u-net")])
def test_every_channel_and_block_that_a_network_has_answers_the_stimuli(name):
    space = trial_surgery(trace(make(USERS[name]), example()))
    least = {g.name: allowed_widths(g.channels)[0] for g in space.groups}
    small = canonical(least, {b.name: True for b in space.blocks}, space.groups, space.blocks)
    for genome in (full_genome(space.groups, space.blocks), small):
        network = materialise(space, genome, identity_ranking(space.groups))
        stimuli = Split(example(6), torch.arange(6) % 4)
        responses = probe(network, genome, space.groups, space.blocks, TASK, stimuli)
        assert {g: len(response.taylor) for g, response in responses.groups.items()} == genome.widths
        assert responses.blocks.keys() == genome.blocks.keys()


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        (USERS["densenet"], torch.channels_last),
        (UNet, torch.channels_last),
        # Their views are of vectors, whose layout is the same either way.
        (USERS["gated"], torch.channels_last),
        (Numbers, torch.contiguous_format),
        (Shuffled, torch.contiguous_format),
        # What happens inside a module that was not traced is not known.
        (Branching, torch.contiguous_format),
    ],
)
def test_what_calls_view_on_maps_is_trained_in_the_layout_that_view_can_read(kind, layout):
    space = trace(make(kind), example())
    network = materialise(space, full_genome(space.groups, space.blocks), identity_ranking(space.groups))
    assert layout_of(space.module) == layout_of(network) == layout
    if kind is not UNet:
        train(network, TASK, data(200).train, Recipe(epochs=1), seed=0, mirror=False)


def numbers(num_classes):
    """A prototype of which one layer cannot be pruned."""
    module = Numbers()
    module.head = nn.Linear(12, num_classes)
    return module


def two_heads():
    return TwoHeads()


class Notes(Progress):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def ask(run, prototype):
    return Journal.create(run), Question(
        data="digits",
        prototype=f"tests.synthesis.test_user_networks:{prototype}",
        requirements=("macs<=prototype/2",),
        targets=("tx2-sim",),
        epochs=1,
        train_images=400,
    )


def test_a_run_says_in_one_note_what_stays_whole_and_why_and_records_it(tmp_path):
    journal, question = ask(tmp_path, "numbers")
    progress = Notes()
    with journal, open_workshop(question, journal, progress) as workshop:
        assert [group.name for group in workshop.space.groups] == ["early.0", "hidden"]
        info = prepare_prototype(workshop).info
    (note,) = (note for note in progress.notes if note.startswith("stays whole: "))
    assert "head (its channels are an output of the network)" in note
    assert "late.0 (pruning it breaks the network: shape '[-1, 128]' is invalid for input of size " in note
    assert len(note.splitlines()) == 1
    assert info.whole == workshop.space.whole
    assert info.whole.keys() == {"head", "late.0"}


def test_a_classifier_with_two_outputs_is_refused_with_their_names(tmp_path):
    journal, question = ask(tmp_path, "two_heads")
    with (
        journal,
        pytest.raises(PrototypeError, match=r"one image with 2 tensors \(output_0, output_1\), the data has 10"),
        open_workshop(question, journal, Progress()),
    ):
        pass


def test_another_number_of_classes_is_refused(tmp_path):
    journal, question = ask(tmp_path, "four_classes")
    with (
        journal,
        pytest.raises(PrototypeError, match=r"shape \(1, 4\), the data has 10 classes: \(1, 10\) is wanted"),
        open_workshop(question, journal, Progress()),
    ):
        pass


def four_classes():
    return Plain()
