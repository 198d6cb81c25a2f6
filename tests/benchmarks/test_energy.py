"""The page of benchmarks/energy: from results alone, and true to them."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.energy.__main__ import main
from benchmarks.energy.bound import bounds
from benchmarks.energy.candidates import candidates_of, names, save
from benchmarks.energy.driven import REQUIREMENTS, equally_accurate
from benchmarks.energy.hidden_boards import HiddenBoard
from benchmarks.energy.loop import Search, everything, loop
from benchmarks.energy.model import groups_of
from benchmarks.energy.page import page
from benchmarks.energy.provenance import HERE
from edgesynth.energy.rows import read_rows

RESULTS = HERE / "results"


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def test_the_page_is_what_the_results_make() -> None:
    assert (HERE / "README.md").read_text() == page(RESULTS)


def test_a_part_without_figures_is_left_out(tmp_path: Path) -> None:
    assert "##" not in page(tmp_path)
    (tmp_path / "speed.json").write_text((RESULTS / "speed.json").read_text())
    assert page(tmp_path).count("##") == 1


def test_every_row_is_in_the_results() -> None:
    rows = read_rows()
    assert [(row["network"], row["precision"]) for row in result("model")["tx2-sim"]["rows"]] == [
        (row.label, row.precision) for row in rows
    ]
    assert all(groups_of(row) for row in rows)


def test_the_model_does_what_was_asked_of_it() -> None:
    """On the rows that the issue's figures were stated for; and better than multiply-accumulates in every group."""
    document = result("model")["tx2-sim"]
    model, macs = (document["latency"][name] for name in ("model", "macs"))
    first = model["of these, the first"]
    assert first["rows"] == 17
    assert first["median"] <= 0.05 and first["worst"] <= 0.12 and first["spearman"] >= 0.9
    assert model["other networks"]["median"] <= 0.2
    assert document["energy"]["median"] <= 0.06
    for group in ("NAS-Bench-201", "of these, the first", "NAS-Bench-201 with none edges", "other networks"):
        assert model[group]["median"] < macs[group]["median"]


def test_the_bounds_are_those_of_the_model_that_is_shipped() -> None:
    found, written = bounds((28,)), result("bound")
    assert found["overheads_ms"] == pytest.approx(written["overheads_ms"], rel=1e-3)
    for now, then in zip(found["sizes"], written["sizes"][:1], strict=True):
        for name, entry in now["genomes"].items():
            assert entry["kernels"] == then["genomes"][name]["kernels"]
            assert entry["assumed"] == pytest.approx(then["genomes"][name]["assumed"], rel=5e-3)


def test_networks_are_compared_at_equal_accuracy() -> None:
    def network(name: str, accuracy: float, mj: float, requirement: str | None) -> dict[str, Any]:
        asked = {} if requirement is None else {"requirement": requirement}
        return {"name": name, "val_accuracy": accuracy, "mj": mj, **asked}

    networks = [
        network("prototype", 0.94, 5.3, None),
        network("thin", 0.93, 4.5, "macs<=prototype/10"),
        network("thick", 0.935, 4.8, "macs<=prototype/4"),
        network("poor", 0.90, 2.0, "macs<=prototype/10"),
        network("flat", 0.931, 3.0, REQUIREMENTS[0]),
        network("best", 0.95, 3.0, REQUIREMENTS[1]),
    ]
    assert equally_accurate(networks) == [
        {"joules": "flat", "macs": "thick", "times": 1.6, "median_times": 1.683},
        {"joules": "best", "macs": None, "times": None, "median_times": None},
    ]


def test_rows_of_the_reader_s_own_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = next(row for row in read_rows() if row.energy_mj is not None)
    cell = known.network
    (tmp_path / "rows.csv").write_text(
        f"cell,latency_ms,energy_mj\n{cell},{known.latency_ms},{known.energy_mj}\n"
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|nor_conv_1x1~1|skip_connect~2|,5.0,\n"
    )
    assert main(["rows", str(tmp_path / "rows.csv")]) == 0
    found = json.loads(capsys.readouterr().out)
    first = next(row for row in result("model")["tx2-sim"]["rows"] if row["network"] == known.label)
    assert found["rows"][0]["model_ms"] == pytest.approx(first["model_ms"], rel=1e-2)
    assert found["rows"][0]["model_mj"] == pytest.approx(first["model_mj"], rel=2e-2)
    assert (found["latency"]["rows"], found["energy"]["rows"]) == (2, 1)


def test_the_loop_does_what_was_asked_of_it() -> None:
    """A tenth of the measurements for the same joules, in all but a few searches, which the page names."""
    ways = result("loop")["ways"]
    found = ways["the loop, a tenth"]
    assert found["greatest_share"] <= 0.1
    assert found["within"] >= 0.95 and found["regret"]["p95"] <= 0.02
    for other in ("the model alone", "the least certain alone, 16", "at random, 32"):
        assert found["within"] > ways[other]["within"]


def test_a_search_on_a_hidden_board(tmp_path: Path) -> None:
    candidates = candidates_of(names()[0])
    files = save(candidates, tmp_path, 16)
    board = HiddenBoard.of(1)
    search = Search.of(files, candidates.scores[:16], board)
    bounds = [min(search.scores), sorted(search.scores)[8]]
    for regret, measured in everything(search, bounds):
        assert measured == 16
        assert regret <= 0.05
    for regret, measured in loop(search, bounds, 8):
        assert measured <= 9
        assert 0 <= regret <= 0.05
    assert HiddenBoard.of(2).truth(files[0]) != board.truth(files[0]) == HiddenBoard.of(1).truth(files[0])


def test_four_boards_do_what_was_asked_of_them() -> None:
    found = result("boards")
    assert found["boards"] == 4
    assert found["times"] >= 3.5
    killed = found["killed"]
    assert killed["answered"] == killed["rows"] == found["networks"] >= 24
    assert killed["differ"] <= 0.1
