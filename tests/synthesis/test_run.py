"""A whole run on real images: what it leaves behind, and that learning was worth it."""

import json
import shutil
from types import SimpleNamespace

import onnx
import pytest
import torch
from edgesynth_exporters.parity import run_onnx
from safetensors.torch import load_file, save_file

from edgesynth.data import find_source
from edgesynth.errors import RunError, StorageError
from edgesynth.performance import netscore
from edgesynth.prototypes import resnet8
from edgesynth.records import Network, Results
from edgesynth.requirements import parse_requirement
from edgesynth.space.cost import count
from edgesynth.space.genome import digest
from edgesynth.synthesis.batch import _finished_otherwise
from edgesynth.synthesis.bench import prepare
from edgesynth.synthesis.generator_file import load_generator
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.learning import _restore, _transfer_matters
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.question import Question
from edgesynth.synthesis.run import generate, own_networks, synthesize
from edgesynth.synthesis.workshop import _keep_threads, open_workshop


@pytest.fixture
def own_run(finished_run, tmp_path):
    """A copy of the run that a test may write to."""
    run = tmp_path / "run"
    shutil.copytree(finished_run[0], run)
    return run


def test_results_are_what_was_written(finished_run):
    run, results = finished_run
    written = Results.model_validate_json((run / "results.json").read_text())
    assert written == results
    assert json.loads((run / "results.json").read_text())["schema"] == "edgesynth.results/1"


def test_the_figures_of_a_network_are_those_of_its_file(finished_run):
    run, results = finished_run
    val = find_source("digits").load().val
    for network in results.networks:
        model = onnx.load(run / network.onnx)
        assert [entry.version for entry in model.opset_import if entry.domain == ""] == [13]
        answers = run_onnx(run / network.onnx, val.images.numpy())
        assert (answers.argmax(axis=1) == val.targets.numpy()).mean() == pytest.approx(network.val_metric, abs=1 / 300)
        assert network.netscore == netscore(network.val_metric, network.params, network.macs)
        assert network.parity is not None
        assert network.parity.max_abs_error < 1e-3


def test_parameters_and_macs_are_counted_on_the_weights(finished_run):
    run, results = finished_run
    for network in results.networks:
        weights = load_file(run / "networks" / network.name / "weights.safetensors")
        trainable = {name: w for name, w in weights.items() if "running_" not in name and "num_batches" not in name}
        assert sum(w.numel() for w in trainable.values()) == network.params


def test_verdicts_follow_from_the_figures(finished_run):
    _, results = finished_run
    prototype = results.prototype
    values = {"accuracy": prototype.val_metric, "macs": prototype.macs}
    for network in results.networks:
        mine = {"accuracy": network.val_metric, "macs": network.macs}
        for text, verdict in network.requirements.items():
            requirement = parse_requirement(text)
            assert verdict == requirement.met(mine[requirement.key], values[requirement.key])
        assert network.satisfied == all(network.requirements.values())


def test_the_record_says_why(finished_run):
    _, results = finished_run
    insight = results.generator.insight
    assert [group.name for group in insight.groups] == [group.name for group in results.prototype.groups]
    assert [block.name for block in insight.blocks] == [block.name for block in results.prototype.blocks]
    assert insight.probed >= 24
    assert any(group.price > 0 for group in insight.groups)
    assert sum(group.taylor for group in insight.groups) == pytest.approx(1, abs=0.2)
    assert all(0 < group.kept < 1 for group in insight.groups)
    assert [rung.name for rung in results.generator.rungs] == [
        "shared",
        "recalibrated",
        "adapted",
        "predicted",
        "short",
    ]


def test_networks_differ_and_say_which_seed_made_them(finished_run):
    run, results = finished_run
    digests = [network.genome_digest for network in results.networks]
    assert len(set(digests)) == len(digests) >= 2
    assert all(digest(network.genome) == network.genome_digest for network in results.networks)
    assert [network.name for network in results.networks] == [f"fermi-{digest}" for digest in digests]
    generator = load_generator(run)
    # The pilot came from the generator as it was half-way; the others are G(s) of the final one.
    again = [digest(genome) for genome in generator.generate([network.seed for network in results.networks])]
    assert again[1:] == digests[1:]


def test_splits_share_no_image_and_are_on_record(finished_run):
    _, results = finished_run
    assert results.data.sizes == {"train": 1078, "scoring": 119, "val": 300, "test": 300}
    assert set(results.data.digests) >= {"train", "val", "test"}


def test_learning_improves_mean_u_over_the_untrained_generator(own_run):
    """The same seeds, the same requirements, the same real scores: before and after learning."""
    with Journal.open(own_run) as journal:
        question = Question.model_validate(journal.get("run", "question"))
        with open_workshop(question, journal, Progress()) as workshop:
            bench = prepare(workshop)
            learner, seeds = bench.learner, list(range(12))
            untrained = bench.score(learner.generator.generate(seeds))
            _restore(bench, str(question.cycles - 1))
            learned = bench.score(learner.generator.generate(seeds))
            assert mean(map(learner.expected_u, learned)) > mean(map(learner.expected_u, untrained)) + 1
            assert mean(map(learner.satisfied, learned)) >= mean(map(learner.satisfied, untrained))


def test_generate_makes_more_without_learning_again(own_run):
    with Journal.open(own_run) as journal:
        before = {n["genome_digest"] for n in journal.all("network")}
        cycles = journal.all("cycle")
        made = generate(journal, count=2, seed=7, epochs=1, asked=None, progress=Progress())
        assert journal.all("cycle") == cycles
        assert made
        assert not before & {network.genome_digest for network in made}
        facts = len(journal.all("network"))
        assert generate(journal, count=2, seed=7, epochs=1, asked=None, progress=Progress()) == made
        assert len(journal.all("network")) == facts
    results = Results.model_validate_json((own_run / "results.json").read_text())
    assert {n.genome_digest for n in results.networks} == before | {n.genome_digest for n in made}


def test_a_finished_run_resumes_without_doing_anything(own_run, finished_run):
    with Journal.open(own_run) as journal:
        question = Question.model_validate(journal.get("run", "question"))
        kinds = ("score", "cycle", "network", "test")
        before = [journal.all(kind) for kind in kinds]
        assert synthesize(question, journal, Progress()) == finished_run[1]
        assert [journal.all(kind) for kind in kinds] == before


def test_weights_inherited_by_zero_epochs_are_slices(own_run):
    with Journal.open(own_run) as journal:
        (made, *_) = generate(journal, count=1, seed=40, epochs=0, asked=None, progress=Progress())
    shared = load_file(own_run / "shared.safetensors")
    mine = load_file(own_run / "networks" / made.name / "weights.safetensors")
    kernel = next(name for name in mine if name.endswith("weight") and mine[name].dim() == 4)
    assert set(mine[kernel].flatten().tolist()) <= set(shared[kernel].flatten().tolist())
    assert not torch.equal(mine[kernel], torch.zeros_like(mine[kernel]))


def test_the_prototype_is_counted_like_everything_else(finished_run):
    _, results = finished_run
    costs = count(resnet8(1, 10), torch.zeros(1, 1, 8, 8))
    assert (results.prototype.params, results.prototype.macs) == (costs.params, costs.macs)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def test_every_network_that_is_no_pilot_is_of_the_learned_generator(finished_run):
    run, results = finished_run
    generator = load_generator(run)
    learned = [network for network in results.networks if network.cycle is None]
    again = [digest(genome) for genome in generator.generate([network.seed for network in learned])]
    assert learned
    assert again == [network.genome_digest for network in learned]
    assert {network.epochs for network in results.networks} == {6}


@pytest.mark.parametrize("name", ["shared.safetensors", "prototype/weights.safetensors"])
def test_weights_that_are_not_the_runs_own_are_refused(own_run, name):
    weights = load_file(own_run / name)
    key = next(iter(weights))
    save_file({**weights, key: weights[key] + 1}, own_run / name)
    with Journal.open(own_run) as journal, pytest.raises(StorageError, match="not the file that the run wrote"):
        generate(journal, count=1, seed=3, epochs=0, asked=None, progress=Progress())


def test_a_network_whose_file_is_gone_is_not_in_the_results(own_run, finished_run):
    shutil.rmtree(own_run / "networks" / finished_run[1].networks[0].name)
    with Journal.open(own_run) as journal, pytest.raises(RunError, match="is gone"):
        generate(journal, count=1, seed=3, epochs=0, asked=None, progress=Progress())


def test_networks_without_training_leave_the_transfer_factor_alone(own_run, finished_run):
    with Journal.open(own_run) as journal:
        generate(journal, count=2, seed=11, epochs=0, asked=None, progress=Progress())
    written = Results.model_validate_json((own_run / "results.json").read_text())
    assert len(written.networks) > len(finished_run[1].networks)
    assert written.generator.transfer == finished_run[1].generator.transfer


def test_generate_reaches_the_number_asked_for(own_run):
    """By further seeds, where the first ones give too few different networks."""
    with Journal.open(own_run) as journal:
        made = generate(journal, count=8, seed=7, epochs=0, asked=None, progress=Progress())
    assert len({network.genome_digest for network in made}) >= 8


def test_only_what_synthesis_finished_counts_as_its_answer(own_run, finished_run):
    with Journal.open(own_run) as journal:
        generate(journal, count=1, seed=3, epochs=0, asked=None, progress=Progress())
        results = Results.model_validate_json((own_run / "results.json").read_text())
        assert own_networks(journal, results) == finished_run[1].networks


@pytest.mark.parametrize(
    ("performance", "requirements", "matters"),
    [
        ("metric", ("macs<=prototype/4",), False),
        ("metric", ("macs<=prototype/4", "accuracy>=prototype-0.01"), True),
        ("netscore", ("macs<=prototype/4",), True),
    ],
)
def test_a_pilot_is_finished_where_it_can_tell_something(performance, requirements, matters):
    question = Question(data="digits", prototype="resnet8", requirements=requirements, performance=performance)
    assert _transfer_matters(SimpleNamespace(question=question)) is matters


def test_another_precision_than_the_run_began_with_is_noted(own_run, monkeypatch):
    monkeypatch.setattr("edgesynth.synthesis.workshop.precision", lambda where: torch.float64)
    notes = []
    with Journal.open(own_run) as journal:
        progress = SimpleNamespace(note=notes.append, stage=notes.append)
        began = journal.get("run", "precision")
        executor = SimpleNamespace(threads=journal.get("run", "threads"))
        _keep_threads(executor, journal, progress)
        assert journal.get("run", "precision") == began
    assert notes == [
        f"the run began on a processor that trains in {began}, this one trains in torch.float64: results differ"
    ]


def test_a_network_judged_by_other_requirements_or_trained_for_other_epochs_is_not_of_this_batch(own_run):
    with Journal.open(own_run) as journal:
        recorded = Network.model_validate(journal.all("network")[0])
        asked = [parse_requirement(text) for text in recorded.requirements]
        candidate = SimpleNamespace(score=SimpleNamespace(digest=recorded.genome_digest))

        def otherwise(requirements, epochs):
            return _finished_otherwise(SimpleNamespace(journal=journal, requirements=requirements), candidate, epochs)

        assert not otherwise(asked, recorded.epochs)
        assert otherwise(asked, recorded.epochs + 1)
        assert otherwise([parse_requirement("macs<=prototype/3")], recorded.epochs)
