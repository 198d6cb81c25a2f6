"""The searches over edgesynth's space, what a run of it costs, and the sections of the page that come of it."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks.classification import run_of_edgesynth
from benchmarks.classification.cells import Cell, Places
from benchmarks.classification.contestants import controls, genes
from benchmarks.classification.contestants.genes import Nursery, Scores
from benchmarks.classification.family_section import family_section
from benchmarks.classification.protocol import FAMILY, FULL
from benchmarks.classification.run_of_edgesynth import Inheritance, Spent
from benchmarks.classification.trust import trust
from edgesynth.prototypes import PROTOTYPES
from edgesynth.space.cost import CostModel, count
from edgesynth.space.surgery import identity_ranking
from edgesynth.space.trace import trace
from edgesynth.synthesis.storage import save_weights
from tests.benchmarks.test_classification import put

EVALUATIONS = 50


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What a run of edgesynth left: shared weights, and the number of its evaluations."""
    run = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    prototype = PROTOTYPES["resnet8"](1, 10).eval()
    save_weights(run / "shared.safetensors", prototype)
    space = trace(prototype, torch.zeros(1, 1, 28, 28))
    spent = {"shared": 10.0, "learning": 5.0, "pilot": 2.0, "choosing": 1.0, "finishing macs10": 7.0}
    return Inheritance(run, {}, identity_ranking(space.groups), EVALUATIONS, spent, {"cpu": "Zuse Z3"})


@pytest.fixture
def searches(left, tmp_path, monkeypatch):
    """(material, evaluations by genome): searches whose score is the number of channels, known without training."""
    torch.manual_seed(0)
    prototype = PROTOTYPES["resnet8"](1, 10).eval()
    space = trace(prototype, torch.zeros(1, 1, 28, 28))
    macs = count(prototype, space.example).macs
    places = Places.of(replace(FULL, name="toy"), tmp_path)
    material = SimpleNamespace(protocol=FULL, seed=0, places=places, limit=lambda budget: macs // budget)
    asked = Counter()

    def nursery(material, cell):
        limit = material.limit(cell.budget)
        scores = Scores(places.folder(cell) / "scores.jsonl")
        random = genes.random.Random(cell.budget)
        return Nursery(material, space, CostModel.from_space(space), left, limit, limit // 2, scores, None, random)

    def score(self, genes):
        asked[self.key(genes)] += 1
        return float(sum(genes.widths))

    monkeypatch.setattr(controls.Nursery, "of", nursery)
    monkeypatch.setattr(Nursery, "score", score)
    return material, asked


def test_evolution_scores_as_many_different_networks_as_edgesynth_and_keeps_the_budget(searches):
    material, asked = searches
    made = controls.evolution(material, 4)
    assert made.details["evaluations"] == len(asked) == EVALUATIONS
    assert count(made.module, torch.zeros(1, 1, 28, 28)).macs <= material.limit(4)


def test_evolution_gets_better_than_its_first_population(searches, monkeypatch):
    material, _ = searches
    best = controls.evolution(material, 4).details["score"]
    nursery = Nursery.of(material, Cell("evolution", 4, 0))
    drawn = nursery.draw()
    first = [nursery.score(next(drawn)) for _ in range(material.protocol.settings["evolution"]["population"])]
    assert best > max(first)


def test_a_random_network_is_just_below_the_budget(searches):
    material, asked = searches
    made = controls.random_first(material, 4)
    macs = count(made.module, torch.zeros(1, 1, 28, 28)).macs
    assert material.limit(4) // 2 <= macs <= material.limit(4)
    assert not asked
    assert made.cpu_s == pytest.approx(10.0, abs=5)  # of the shared weights


def test_a_score_that_was_cut_off_in_the_writing_is_taken_anew(tmp_path):
    file = tmp_path / "scores.jsonl"
    Scores(file).add("one", 0.5)
    whole = file.read_text()
    file.write_text(whole + whole[:-5].replace("one", "two"))
    scores = Scores(file)
    assert scores.known == {"one": 0.5}
    scores.add("two", 0.6)
    assert Scores(file).known == {"one": 0.5, "two": 0.6}


def test_costs_go_to_what_is_worked_on_and_outlive_an_interruption(tmp_path, monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 6.0, 10.0, 10.0])
    monkeypatch.setattr(run_of_edgesynth, "Stopwatch", lambda: SimpleNamespace(cpu_s=0.0))
    spent = Spent(tmp_path / "spent.json", lambda text: None)
    monkeypatch.setattr(spent, "_watch", type("Watch", (), {"cpu_s": property(lambda self: next(clock))})())
    spent.work("shared")
    spent.work("learning")
    spent.budget = 10
    spent.work("finishing")
    spent.scored(1, 2)
    assert json.loads((tmp_path / "spent.json").read_text()) == {
        "prototype": 0.0,
        "shared": 1.0,
        "learning": 2.0,
        "finishing macs10": 3.0,
    }
    assert Spent(tmp_path / "spent.json", lambda text: None).seconds()["learning"] == 2.0


def test_shared_weights_that_begin_anew_are_charged_once(tmp_path, monkeypatch):
    file = tmp_path / "spent.json"
    file.write_text(json.dumps({"shared": 99.0, "learning": 5.0}))
    monkeypatch.setattr(run_of_edgesynth, "Stopwatch", lambda: SimpleNamespace(cpu_s=0.0))
    spent = Spent(file, lambda text: None)
    spent.work("shared")
    assert spent.seconds() == {"prototype": 0.0, "shared": 0.0, "learning": 5.0}


def test_a_family_is_kept_beside_the_results(tmp_path):
    assert Places.of(FAMILY, tmp_path).results == Places.of(FULL, tmp_path).results / "family"
    assert Places.of(FAMILY).results == Places.of(FULL).results / "family"


def test_what_a_generator_costs(left):
    assert left.learning_cpu_s == 17
    assert left.search_cpu_s == 18


def test_the_page_tells_how_well_the_scores_rank(tmp_path):
    where = Places.of(FULL, tmp_path)
    assert trust(FULL, where) == ""
    networks = [{"val_metric": i / 10, "scores": {"adapted": i / 20, "shared": -i / 20}} for i in range(8)]
    finished = {"finished": {"10": networks[:4], "4": networks[4:]}}
    for budget in (10, 4):
        digest = FULL.digest("edgesynth")
        put(where, f"edgesynth-macs{budget}-seed0", status="finished", protocol_digest=digest, details=finished)
    text = trust(FULL, where)
    assert "all 8 networks" in text
    rows = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")}
    steers = next(line for line in rows.values() if "the score that steers" in line)
    assert steers.split(" | ")[1] == "1.00"
    assert next(line for line in rows.values() if "as they are" in line).split(" | ")[1] == "-1.00"
    assert steers.split(" | ")[3].startswith("·")  # four networks say nothing


def test_within_their_run_networks_are_compared_with_each_other_alone(tmp_path):
    where, digest = Places.of(FULL, tmp_path), FULL.digest("edgesynth")
    for seed in (0, 1):
        # The second run has lower scores and better results, and in each the better score has the better result.
        networks = [
            {"val_metric": (i + 20 * seed) / 100, "scores": {"adapted": (i - 20 * seed) / 100}} for i in range(4)
        ]
        put(
            where,
            f"edgesynth-macs10-seed{seed}",
            status="finished",
            protocol_digest=digest,
            details={"finished": {"10": networks}},
        )
    row = next(line for line in trust(FULL, where).splitlines() if "the score that steers" in line)
    assert row.split(" | ")[1].startswith("-0.")
    assert row.split(" | ")[2] == "1.00"


def test_the_page_tells_what_one_generator_is_good_for(tmp_path):
    assert family_section(FAMILY, tmp_path) == ""
    network = {"macs": 3_000_000, "params": 20_000, "test_metric": 0.93, "val_metric": 0.94, "epochs": 16}
    document = {
        "protocol_digest": "of another protocol",
        "prototype": {"test_accuracy": 0.94, "macs": 31_000_000, "training_cpu_s": 1000.0},
        "learning_cpu_s": 900.0,
        "networks": [network, {**network, "test_metric": 0.932}],
        "mean_distance": 0.2,
        "seeds": 256,
        "within_budget": {"4": 256, "16": 255},
        "genomes_s": 1.5,
        "spots": [{**network, "finished": 1, "require": ["macs<=2000000", "params<=50000"]}],
    }
    (tmp_path / "family.json").write_text(json.dumps(document))
    assert family_section(FAMILY, tmp_path) == ""  # of another protocol
    document["protocol_digest"] = FAMILY.digest("family")
    (tmp_path / "family.json").write_text(json.dumps(document))
    text = family_section(FAMILY, tmp_path)
    assert "93.10 % of the test images in the median (93.00 % to 93.20 %)" in text
    assert "-0.90 points" in text
    assert "0.90 times" in text
    assert "of 256 seeds so many are within: 256 at 1/4, 255 at 1/16" in text
    assert "Under `macs<=2000000` and `params<=50000`: 93.00 % of the test images" in text
