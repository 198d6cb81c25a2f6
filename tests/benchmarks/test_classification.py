"""The comparison on classification: cells, the page, and one cheap contestant from end to end."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.classification import cell as cell_module
from benchmarks.classification import contestants, runner
from benchmarks.classification.__main__ import main
from benchmarks.classification.architecture import rebuild
from benchmarks.classification.cell import run_cell
from benchmarks.classification.cells import HERE, Cell, Places, architecture_digest, cells_of, is_done
from benchmarks.classification.contestants.base import Compressed, ContestantError, reshaped
from benchmarks.classification.contestants.uniform import distilled, largest_uniform
from benchmarks.classification.figures import tables
from benchmarks.classification.material import make_prototype, open_material
from benchmarks.classification.page import page, write_page
from benchmarks.classification.protocol import CONTESTANTS, FULL, PEERS, SMOKE
from benchmarks.classification.runner import run_missing
from edgesynth.prototypes import PROTOTYPES
from edgesynth.space.cost import CostModel, count
from edgesynth.space.genome import canonical
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace

QUICK = replace(SMOKE, train_images=200, prototype="resnet8")
ENVIRONMENT = {
    "cpu": "Zuse Z3",
    "cores": 1,
    "python": "3.11",
    "versions": {},
    "commit": "c0ffee",
    "date": "2026-01-02T",
}


def silent(text):
    pass


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """With a trained prototype."""
    where = Places.of(QUICK, tmp_path_factory.mktemp("work"))
    make_prototype(QUICK, where, 0, silent)
    return where


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return PROTOTYPES["resnet20"](1, 10).eval()


def put(places, name, **result):
    places.results.mkdir(parents=True, exist_ok=True)
    (places.results / f"{name}.json").write_text(json.dumps({"environment": ENVIRONMENT, **result}))


def put_cell(places, contestant, seed, accuracy, budget=10, **more):
    finished = {
        "protocol_digest": FULL.digest(contestant),
        "status": "finished",
        "macs_limit": 3_100_000,
        "test_accuracy": accuracy,
        "macs": 3_000_000,
        "params": 12_345,
        "search_cpu_s": 77.0,
        "finish_cpu_s": 180.0,
        "widths": {contestant: seed},
        "details": {"finished": {}},
    }
    put(places, Cell(contestant, budget, seed).name, **{**finished, **more})


def put_prototype(places, seed, accuracy):
    figures = {"test_accuracy": accuracy, "macs": 31_000_000, "params": 272_000}
    put(places, f"prototype-seed{seed}", protocol_digest=FULL.digest(), **figures)


def row_of(table, contestant):
    return next(row for row in table.rows if row.contestant == contestant)


def test_every_contestant_can_be_found():
    assert list(contestants._MODULES) == list(CONTESTANTS)
    assert set(FULL.settings) == set(SMOKE.settings) <= set(CONTESTANTS)


def test_a_digest_follows_what_an_outcome_depends_on_and_nothing_else():
    other = replace(FULL, settings={**FULL.settings, "fastnas": {"divisor": 8}})
    assert other.digest("fastnas") != FULL.digest("fastnas")
    assert other.digest("evolution") == FULL.digest("evolution")
    assert replace(FULL, finish_epochs=7).digest("evolution") != FULL.digest("evolution")
    assert replace(FULL, budgets=(2,), seeds=(9,)).digest("evolution") == FULL.digest("evolution")
    assert len({FULL.digest(name) for name in (*CONTESTANTS, None)}) == len(CONTESTANTS) + 1


def test_the_tightest_budget_comes_first_and_a_comparison_is_completed_before_the_next():
    cells = list(cells_of(FULL, only=["fastnas", "random"]))
    assert len(cells) == len(set(cells)) == 2 * 2 * 3
    assert cells[:3] == [Cell("fastnas", 10, 0), Cell("random", 10, 0), Cell("fastnas", 10, 1)]


def test_only_what_is_missing_is_run(tmp_path, monkeypatch):
    where = Places.of(FULL, tmp_path)
    cells = list(cells_of(FULL, only=["uniform-scratch"], budgets=[10]))
    put_cell(where, "uniform-scratch", 0, 0.9)
    put_cell(where, "uniform-scratch", 1, 0.9, protocol_digest="of another protocol")
    started = []

    def child(protocol, places, arguments, peer, say):
        started.append(arguments)
        if arguments[0] == "cell" and arguments[-1] == "1":
            put_cell(places, "uniform-scratch", 1, 0.9)
        return arguments != ["prototype", "--seed", "2"]

    monkeypatch.setattr(runner, "_child", child)
    assert run_missing(FULL, where, cells, 1, silent) == [Cell("uniform-scratch", 10, 2)]
    assert [arguments for arguments in started if arguments[0] == "cell"] == [
        ["cell", "uniform-scratch", "--budget", "10", "--seed", "1"]
    ]
    assert [is_done(where, FULL, cell) for cell in cells] == [True, True, False]


def test_a_stopped_cell_goes_on_where_it_was(places, monkeypatch):
    cell = Cell("uniform-distilled", 4, 0)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cell_module, "_train", killed)
        with pytest.raises(KeyboardInterrupt):
            run_cell(QUICK, places, cell, silent)
    assert not is_done(places, QUICK, cell)
    monkeypatch.setattr(cell_module, "find_contestant", lambda name: pytest.fail("compressed a second time"))
    run_cell(QUICK, places, cell, silent)
    assert is_done(places, QUICK, cell)
    result = json.loads(places.result(cell).read_text())
    assert result["macs"] <= result["macs_limit"]


def failing(error):
    def fail(material, budget):
        raise error

    return lambda name: fail


def test_a_contestant_that_fails_has_a_result_that_says_why(places, monkeypatch):
    monkeypatch.setattr(cell_module, "find_contestant", failing(ContestantError("too many MACs")))
    cell = Cell("fastnas", 10, 0)
    run_cell(QUICK, places, cell, silent)
    result = json.loads(places.result(cell).read_text())
    assert (result["status"], result["reason"]) == ("failed", "too many MACs")
    assert is_done(places, QUICK, cell)


@pytest.mark.parametrize("error", [KeyError("conv"), ModuleNotFoundError("modelopt"), OSError(28, "No space left")])
def test_what_is_not_the_contestants_fault_is_no_result(places, monkeypatch, error):
    monkeypatch.setattr(cell_module, "find_contestant", failing(error))
    cell = Cell("fastnas", 4, 0)
    with pytest.raises(type(error)):
        run_cell(QUICK, places, cell, silent)
    assert not places.result(cell).exists()


def test_a_network_over_the_budget_is_a_failure(places, monkeypatch):
    whole = open_material(QUICK, places, 0)
    monkeypatch.setattr(cell_module, "find_contestant", lambda name: lambda *_: Compressed(whole.prototype, 0.0))
    cell = Cell("random", 10, 0)
    run_cell(QUICK, places, cell, silent)
    assert f"more than {whole.limit(10):,}" in json.loads(places.result(cell).read_text())["reason"]


def test_an_architecture_comes_back_out_of_a_result_of_widths_or_of_a_genome(resnet):
    shape, example = (1, 28, 28), torch.zeros(1, 1, 28, 28)
    space = trace(resnet, example)
    _, genome = largest_uniform(space, count(resnet, example).macs // 5)
    narrow = materialise(space, genome, identity_ranking(space.groups))
    layers = {name: layer for name, layer in narrow.named_modules() if isinstance(layer, nn.Conv2d)}
    widths = {name: layer.out_channels for name, layer in layers.items()}
    sizes = vars(count(narrow, example))
    shapes = {name: tensor.shape for name, tensor in narrow.state_dict().items()}
    for known in ({"widths": widths}, {"genome": genome.model_dump(), "widths": widths}):
        again = rebuild("resnet20", shape, 10, {**known, **sizes})
        assert {name: tensor.shape for name, tensor in again.state_dict().items()} == shapes
    with pytest.raises(ValueError, match="where the result has"):
        rebuild("resnet20", shape, 10, {"widths": {**widths, "stages.0.0.conv1": 16}, **sizes})
    assert architecture_digest({"widths": widths}) != architecture_digest({"widths": {**widths, "stem.0": 16}})


def test_every_published_result_can_be_rebuilt():
    """Prototypes, peers and our own: what the latency table is made from."""
    results = [json.loads(path.read_text()) for path in (HERE / "results").glob("*-seed*.json")]
    for result in results:
        if "macs" in result:
            rebuild(FULL.prototype, (1, 28, 28), 10, result)


@pytest.mark.parametrize("budget", [4, 10])
def test_uniform_widths_are_the_largest_under_the_budget(resnet, budget):
    space = trace(resnet, torch.zeros(1, 1, 28, 28))
    costs = CostModel.from_space(space)
    limit = count(resnet, space.example).macs // budget
    factor, genome = largest_uniform(space, limit)
    assert costs.of(genome).macs <= limit
    ratios = {group.channels: genome.widths[group.name] / group.channels for group in space.groups}
    assert all(abs(ratio - factor) <= 0.5 / channels + 1e-9 for channels, ratio in ratios.items())
    wider = {g.name: min(g.channels, int(g.channels * (factor + 1 / 128) + 0.5)) for g in space.groups}
    more = canonical(wider, {b.name: True for b in space.blocks}, space.groups, space.blocks)
    assert costs.of(more).macs > limit
    with pytest.raises(ContestantError, match="one channel a layer"):
        largest_uniform(space, 10)


def test_uniform_widths_start_from_random_weights_of_the_seed(places):
    material = open_material(QUICK, places, 0)
    first, again, other = (distilled(replace(material, seed=seed), 4).module.state_dict() for seed in (0, 0, 1))
    assert torch.equal(first["stem.0.weight"], again["stem.0.weight"])
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def test_a_network_is_rebuilt_from_the_sizes_of_its_weights(resnet):
    space = trace(resnet, torch.zeros(1, 1, 28, 28))
    _, genome = largest_uniform(space, count(resnet, space.example).macs // 5)
    narrow = materialise(space, genome, identity_ranking(space.groups))
    rebuilt = reshaped(resnet, narrow.state_dict())
    images = torch.randn(2, 1, 28, 28)
    assert torch.allclose(rebuilt(images), narrow(images), atol=1e-5)
    assert count(rebuilt, space.example) == count(narrow, space.example)


def test_the_tables_are_medians_over_seeds_of_what_the_files_say(tmp_path):
    where = Places.of(FULL, tmp_path)
    for seed, accuracy in enumerate((0.94, 0.93, 0.95)):
        put_prototype(where, seed, accuracy)
        put_cell(where, "fastnas", seed, accuracy - 0.02)
        put_cell(where, "edgesynth", seed, accuracy - (0.01, 0.03, 0.015)[seed])
    first = architecture_digest({"widths": {"fastnas": 0}})
    put(
        where,
        "latency",
        networks={
            "fastnas-macs10-seed0": {
                "architecture": first,
                "ratio": 0.5,
                "tx2_mj": 12.0,
            },
            "fastnas-macs10-seed1": {"architecture": "of an older network", "ratio": 0.1, "tx2_mj": 1.0},
        },
    )
    prototype, (tenth, quarter) = tables(FULL, where)
    assert prototype.accuracy.median == 0.94
    fastnas = row_of(tenth, "fastnas")
    assert (fastnas.accuracy.low, fastnas.accuracy.median, fastnas.accuracy.high) == pytest.approx((0.91, 0.92, 0.93))
    assert (fastnas.behind.low, fastnas.behind.high) == pytest.approx((-0.02, -0.02))
    assert (fastnas.lead.low, fastnas.lead.median, fastnas.lead.high) == pytest.approx((-0.01, 0.005, 0.01))
    assert fastnas.latency_ratio.high == 0.5
    assert row_of(tenth, "edgesynth").lead is None
    assert row_of(quarter, "fastnas").missing == (0, 1, 2)


def test_the_page_shows_failures_gaps_and_losses_as_they_are(tmp_path):
    where = Places.of(FULL, tmp_path)
    put_prototype(where, 0, 0.94)
    put_cell(where, "fastnas", 0, 0.9312)
    put_cell(where, "edgesynth", 0, 0.9212)
    failed = {"status": "failed", "reason": "no network\nof at most 1 | MACs", "macs_limit": 3_100_000}
    put(where, "evolution-macs10-seed0", protocol_digest=FULL.digest("evolution"), **failed)
    put_cell(where, "random", 0, 0.99, protocol_digest="of another protocol")
    put_cell(where, "uniform-scratch", 0, 0.91, environment={**ENVIRONMENT, "precision": "bfloat16"})
    text = page(FULL, where)
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "93.12 %" in text and "[1 of 3 seeds]" in text
    assert "| -1.00 |" in text.split("| fastnas |")[1].splitlines()[0]
    assert "| evolution | failed |" in text
    assert "- **evolution**, seed 0: failed. no network of at most 1 \\| MACs" in text
    assert "| random | not run yet |" in text and "99.00" not in text
    assert "not run yet for seed 1, 2" in text and "Zuse Z3" in text
    assert "- Computed in float32 on Zuse Z3 where nothing else is said." in text
    assert "- **uniform-scratch**: in bfloat16 on Zuse Z3 for seed 0." in text
    assert len({line.count(" | ") for line in lines.values()}) == 1
    write_page(FULL, where)
    assert (where.results / "README.md").read_text() == text
    assert "<svg" in (where.results / "accuracy.svg").read_text()


def test_the_page_says_who_is_best_of_those_that_have_all_seeds(tmp_path):
    where = Places.of(FULL, tmp_path)
    for seed, accuracy in zip(FULL.seeds, (0.92, 0.93, 0.94), strict=True):
        put_cell(where, "edgesynth", seed, 0.931)
        put_cell(where, "fastnas", seed, accuracy)
        put_cell(where, "random", seed, 0.91)
        put_cell(where, "evolution", seed, 0.99)
    failed = {"status": "failed", "reason": "no network", "macs_limit": 3_100_000}
    put(where, "evolution-macs10-seed2", protocol_digest=FULL.digest("evolution"), **failed)
    told = (
        "edgesynth's median, 93.10 %, is 0.10 points above that of fastnas, the best of the 2 others that have all 3 "
        "seeds. Seed by seed the difference is +0.10 (-0.90 to +1.10): the seeds disagree."
    )
    assert told in page(FULL, where)
    for seed in FULL.seeds:
        put_cell(where, "random", seed, 0.9321)
    told = "0.11 points **below** that of random, the best of the 2 others that have all 3 seeds."
    assert told in page(FULL, where)
    assert "Seed by seed the difference is -0.11.\n" in page(FULL, where)


def test_the_published_page_is_what_the_results_say():
    assert page(FULL, Places.of(FULL)) == (HERE / "README.md").read_text()


def test_the_readme_says_what_the_results_say():
    prototype, found = tables(FULL, Places.of(FULL))
    readme = " ".join((HERE.parent.parent / "README.md").read_text().split())
    for contestant in ("prototype", "edgesynth", *PEERS, "evolution", "random", "uniform-distilled"):
        rows = [prototype if contestant == "prototype" else row_of(table, contestant) for table in found]
        told = " | ".join(f"{100 * row.accuracy.median:.2f} %" for row in rows)
        assert f"| {contestant} | {told} |" in readme
    first, second = (100 * row_of(table, "edgesynth-first").accuracy.median for table in found)
    assert f"without that choice it has {first:.2f} % and {second:.2f} %" in readme


def test_a_page_can_be_written_before_anything_is_run(tmp_path):
    write_page(FULL, Places.of(FULL, tmp_path))
    assert "Nothing has been run yet" in (tmp_path / "results" / "README.md").read_text()


def test_one_cheap_contestant_from_end_to_end(tmp_path):
    run = ["run", "--smoke", "--only", "uniform-scratch", "--budget", "10", "--work", str(tmp_path)]
    assert main(run) == 0
    written = tmp_path / "smoke" / "results" / "uniform-scratch-macs10-seed0.json"
    result, when = json.loads(written.read_text()), written.stat().st_mtime_ns
    assert result["status"] == "finished"
    assert result["macs"] <= result["macs_limit"]
    assert 0 < result["test_accuracy"] <= 1
    assert result["environment"]["versions"]["torch"]
    assert main(run) == 0
    assert written.stat().st_mtime_ns == when
    assert main(["latency", "--smoke", "--work", str(tmp_path)]) == 0
    assert main(["page", "--smoke", "--work", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "smoke" / "results" / "latency.json").read_text())["networks"]
    assert measured["prototype-seed0"]["ratio"] == 1
    assert measured["uniform-scratch-macs10-seed0"]["tx2_mj"] > 0
