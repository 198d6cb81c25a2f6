"""Finishing: the rungs on record, and networks that come to nothing."""

import shutil
from contextlib import suppress
from itertools import islice

import pytest
import torch

from edgesynth.data.source import Split
from edgesynth.errors import DeviceError, ExportError, ToolError
from edgesynth.space.genome import canonical, digest
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.synthesis import finishing
from edgesynth.synthesis.finetuning import Finetuning, Unusable
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.probe import Responses
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.run import generate
from edgesynth.synthesis.scoring import LEAST_ADAPTATION, Adaptation, CheapScoring, Score
from edgesynth.synthesis.selection import Selection
from edgesynth.synthesis.storage import from_bytes
from edgesynth.synthesis.training import Recipe, Teacher, outputs, recalibrate, seed_of, train
from tests.synthesis.toys import TASK, data, same, trained_space
from tests.synthesis.world import World

SEED = 3


def half():
    return half_of(trained_space())


def half_of(space):
    widths = {group.name: group.channels // 2 for group in space.groups}
    return canonical(widths, {block.name: True for block in space.blocks}, space.groups, space.blocks)


def score_of(genome):
    nothing = Responses(groups={}, blocks={})
    known = {"metric": 0.5, "params": 1, "macs": 1, "on_target": {}}
    return Score(digest=digest(genome), genome=genome, responses=nothing, **known)


def finetuning(epochs, *, shared=None, checkpoints=None, on_epoch=None):
    space = trained_space()
    return Finetuning(
        space=space,
        ranking=identity_ranking(space.groups),
        shared=shared or space.module.state_dict(),
        task=TASK,
        train=data().train,
        calibration=data().train.images[:128].clone(),
        scoring=data().test,
        val=data().val,
        teacher=Teacher.of(space.module, TASK, data().train, mirror=True),
        mirror=True,
        epochs=epochs,
        seed=SEED,
        checkpoints=checkpoints,
        on_epoch=on_epoch,
    )


def metric(module):
    return TASK.evaluate(outputs(module, data().test.images), data().test.targets)


def not_finite():
    state = trained_space().module.state_dict()
    return {name: torch.full_like(w, torch.nan) if w.is_floating_point() else w for name, w in state.items()}


class Stopped(Exception):  # noqa: N818  # no error
    pass


def trained_by_hand(epochs, until=None):
    """The same training without looking on the way, stopped after `until` epochs."""
    space = trained_space()
    module = materialise(space, half(), identity_ranking(space.groups))
    recalibrate(module, data().train.images[:128])

    def on_epoch(done, loss):
        if done == until:
            raise Stopped

    with suppress(Stopped):
        train(
            module,
            TASK,
            data().train,
            Recipe(epochs),
            seed=seed_of(SEED, int(digest(half()), 16)),
            mirror=True,
            teacher=Teacher.of(space.module, TASK, data().train, mirror=True),
            on_epoch=on_epoch,
        )
    return module


def test_scores_on_the_way_do_not_disturb_the_training():
    done = finetuning(5)(score_of(half()))
    assert same(from_bytes(done.weights), trained_by_hand(5))


def test_the_rungs_are_what_they_say():
    space = trained_space()
    done = finetuning(5)(score_of(half()))
    sliced = materialise(space, half(), identity_ranking(space.groups))
    calibrated = materialise(space, half(), identity_ranking(space.groups))
    recalibrate(calibrated, data().train.images[:128])
    # A quarter of 5 epochs, rounded up.
    short = trained_by_hand(5, until=2)
    recalibrate(short, data().train.images[:128])
    before = {"shared": metric(sliced), "recalibrated": metric(calibrated), "adapted": 0.5}
    assert done.scores == {**before, "short": metric(short)}
    assert finetuning(0)(score_of(half())).scores == before


@pytest.mark.parametrize("stop", [1, 3])
def test_an_interrupted_training_ends_as_an_undisturbed_one(stop, tmp_path):
    """Before and after the short training."""

    def on_epoch(name, done, loss):
        if done == stop:
            raise Stopped

    undisturbed = finetuning(5)(score_of(half()))
    with pytest.raises(Stopped):
        finetuning(5, checkpoints=tmp_path, on_epoch=on_epoch)(score_of(half()))
    assert finetuning(5, checkpoints=tmp_path)(score_of(half())) == undisturbed


@pytest.mark.parametrize(("epochs", "words"), [(0, "answers"), (1, "loss is not finite after epoch 1")])
def test_a_network_that_is_not_finite_is_unusable(epochs, words):
    outcome = finetuning(epochs, shared=not_finite())(score_of(half()))
    assert isinstance(outcome, Unusable)
    assert words in outcome.reason


def adaptation(repeats=1):
    """On so many copies of the toy's images: one of them makes three steps only."""
    images = Split(data().train.images.repeat(repeats, 1, 1, 1), data().train.targets.repeat(repeats))
    return Adaptation.of(TASK, images, Teacher.of(trained_space().module, TASK, images, mirror=True), True, SEED)


def cheap(shared, opsets=frozenset()):
    space = trained_space()
    return CheapScoring(space, identity_ranking(space.groups), shared, TASK, adaptation(), data().test, opsets)(half())


def test_a_candidate_is_judged_after_a_few_steps_of_training():
    space = trained_space()
    network = materialise(space, half(), identity_ranking(space.groups))
    recalibrate(network, adaptation().calibration)
    before = metric(network)
    sliced = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    adaptation()(network)
    assert cheap(space.module.state_dict()).score.metric == metric(network)
    assert not same(sliced, network)
    adaptation(repeats=7)(network)
    assert metric(network) > before


def test_adaptation_takes_an_eighth_of_many_images_and_all_of_few():
    assert len(adaptation().split) == len(data().train)
    images = 10 * LEAST_ADAPTATION
    many = Split(torch.zeros(images, 1), torch.zeros(images, dtype=torch.long))
    found = Adaptation.of(TASK, many, Teacher(torch.zeros(images, 4)), False, 0)
    assert len(found.split) == len(found.teacher.plain) == images // 8


def test_a_network_that_cannot_be_scored_is_worth_nothing(monkeypatch):
    good = trained_space().module.state_dict()
    assert cheap(good).score.failure is None
    score = cheap(not_finite()).score
    assert score.failure == "its answers are not finite"
    assert score.metric == 0
    assert score.params == cheap(good).score.params
    assert cheap(good, frozenset([13])).files[13]
    assert "opset 99" in cheap(good, frozenset([99])).score.failure


def test_nobody_learns_from_a_network_that_cannot_be_scored():
    world = World()
    learner = world.learner(["macs<=prototype/2"])
    lost = []

    def score(genomes):
        scores = world.score(genomes)
        lost.append(scores[0].digest)
        return [s.model_copy(update={"failure": "no"}) if s.digest == lost[0] else s for s in scores]

    assert not learner.satisfied(world.score([half_of(world.space)])[0].model_copy(update={"failure": "no"}))
    cycle = learner.cycle(0, score)
    assert len(learner.known) > 20
    assert lost[0] not in learner.known
    assert cycle.satisfied_share < 1
    candidates = list(islice(Selection(learner, score, 0, 2), 3))
    assert candidates
    assert lost[0] not in {candidate.score.digest for candidate in candidates}


@pytest.fixture
def own_run(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run[0], run)
    return run


class Notes(Progress):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def more(run):
    """(networks, notes, what failed) of two networks more, without training."""
    progress = Notes()
    with Journal.open(run) as journal:
        made = generate(journal, count=2, seed=7, epochs=0, asked=None, progress=progress)
        return made, progress.notes, journal.all("failed")


def failing(monkeypatch, error, times):
    """Make delivery fail so many times."""
    deliver, failures = finishing.deliver, []

    def sometimes(*arguments):
        if len(failures) < times:
            failures.append(error)
            raise error
        return deliver(*arguments)

    monkeypatch.setattr(finishing, "deliver", sometimes)
    return failures


@pytest.mark.parametrize("error", [ExportError("no such operator"), DeviceError("tx2-sim: the build failed")])
def test_a_network_that_cannot_be_delivered_is_passed_over(error, own_run, monkeypatch):
    failing(monkeypatch, error, times=1)
    made, notes, failed = more(own_run)
    assert made
    assert failed == [str(error)]
    assert any(str(error) in note and "passed over" in note for note in notes)
    again, notes, failed = more(own_run)
    assert again == made
    assert failed == [str(error)]
    assert any(str(error) in note for note in notes)


def test_a_device_that_is_away_stops_the_run_and_is_no_fault_of_the_network(own_run, monkeypatch):
    away = DeviceError("tx2-sim: out of reach")
    failing(monkeypatch, away, times=1)
    monkeypatch.setattr("edgesynth.devices.EstimateOracle._measure", lambda *_: (_ for _ in ()).throw(away))
    with pytest.raises(DeviceError, match="out of reach"):
        more(own_run)
    monkeypatch.undo()
    made, _, failed = more(own_run)
    assert made
    assert failed == []


def test_a_batch_of_which_nothing_is_left_says_so(own_run, monkeypatch):
    failures = failing(monkeypatch, ExportError("no such operator"), times=99)
    with pytest.raises(ToolError, match=r"none of the 4 networks .*no such operator"):
        more(own_run)
    assert len(failures) == 4


def test_finished_networks_tell_their_scores(finished_run):
    for network in finished_run[1].networks:
        assert set(network.scores) == {"shared", "recalibrated", "adapted", "predicted", "short"}
        assert all(0 <= value <= 1 for value in network.scores.values())


def test_no_file_of_a_training_is_left(finished_run):
    assert list((finished_run[0] / "checkpoints").iterdir()) == []
