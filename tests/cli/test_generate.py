"""`edgesynth generate`: other budgets from a generator that a run has learned."""

import contextlib
import io
import json
import re
import shutil

import pytest

from edgesynth.cli.main import run
from edgesynth.records import Results
from edgesynth.report.page import render, write_report
from edgesynth.requirements import parse_requirement
from tests.report.test_page import Outline


@pytest.fixture(scope="module")
def asked(finished_run, tmp_path_factory):
    """(run directory, results before) of a run that may be written to."""
    folder = tmp_path_factory.mktemp("asked") / "run"
    shutil.copytree(finished_run[0], folder)
    write_report(folder)
    return folder, finished_run[1]


@pytest.fixture(scope="module")
def printed(asked):
    """The exit code, and what the command prints of two untrained networks for a tighter budget."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = run(["generate", str(asked[0]), *OTHER])
    assert code in (0, 1)
    return code, out.getvalue()


OTHER = ["--require", "macs<=prototype/8", "--require", "params <= prototype / 4", "--count", "2", "--epochs", "0"]
TEXTS = ["macs<=prototype/8", "params<=prototype/4"]


@pytest.fixture(scope="module")
def results(asked, printed):
    return Results.model_validate_json((asked[0] / "results.json").read_text())


def test_its_networks_meet_the_other_budget_and_are_judged_by_it_alone(asked, printed, results):
    _, before = asked
    made = results.networks[len(before.networks) :]
    prototype = results.prototype
    assert printed[0] == 0
    assert len(made) == 2
    for network in made:
        assert list(network.requirements) == TEXTS
        assert network.satisfied
        for text, own in zip(TEXTS, (prototype.macs, prototype.params), strict=True):
            requirement = parse_requirement(text)
            assert requirement.met(getattr(network, requirement.key), own) is network.requirements[text] is True


def test_the_run_still_says_what_it_was_asked(asked, results):
    _, before = asked
    assert results.requirements == before.requirements
    assert results.networks[: len(before.networks)] == before.networks
    assert results.generator.cycles == before.generator.cycles
    question = results.model_copy(update={"networks": before.networks, "generator": before.generator})
    assert question.model_copy(update={"warnings": before.warnings}) == before


def test_what_is_printed(printed, results):
    lines = printed[1].splitlines()
    assert re.search(r"\baccuracy\b", printed[1].split("network")[0])
    assert "metric" not in printed[1]
    assert lines[-1] == "2 of 2 FermiNets meet macs<=prototype/8, params<=prototype/4"
    assert sum("all met" in line for line in lines) == 2


def test_the_page_is_written_anew_and_shows_them_for_what_they_are(asked, printed, results):
    folder, before = asked
    page = (folder / "report.html").read_text()
    assert page == render(results) != render(before)
    text = Outline(page).text
    met = sum(network.satisfied for network in before.networks)
    assert f"{met} of {len(before.networks)} FermiNets meet all requirements" in text
    assert "2 of 2 FermiNets generated later meet the other requirements that they were asked for." in text
    for network in results.networks[len(before.networks) :]:
        assert f"{network.name} ✓ meets what was asked" in text
    assert text.count("asked for macs<=prototype/8, params<=prototype/4") == 2
    assert "not known" not in text


def test_the_same_command_makes_nothing_more(asked, results, capsys):
    assert run(["generate", str(asked[0]), *OTHER, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["networks"] == [n.model_dump(mode="json") for n in results.networks[-2:]]
    assert Results.model_validate_json((asked[0] / "results.json").read_text()) == results


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["latency_ms@host<=1"], ["latency_ms@host<=1", "not learned for", "macs<=, accuracy>=, params<="]),
        (["accuracy<=0.9"], ["accuracy<=0.9", "not learned for"]),
        (["energy_mj@tx9<=1"], ["energy_mj@tx9<=1"]),
        (["macs<=prototype/8", "macs<=10"], ["macs<=10", "smallest network"]),
        (["macs<=fast"], ["macs<=fast", "does not parse"]),
        (["accuracy>=2*prototype"], ["asks for", "no metric exceeds 1"]),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_leaves_the_run_as_it_was(texts, words, asked, results, capsys):
    before = (asked[0] / "results.json").read_bytes()
    assert run(["generate", str(asked[0]), *(part for text in texts for part in ("--require", text))]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    line = err.strip().splitlines()[-1]
    assert "Traceback" not in err
    assert all(word in line for word in words), line
    assert (asked[0] / "results.json").read_bytes() == before


def genomes_of(folder, capsys, *options):
    """The exit code of --genomes, its document, and what it says beside it."""
    code = run(["generate", str(folder), "--genomes", "--json", "--count", "16", *options])
    out, err = capsys.readouterr()
    return code, json.loads(out)["genomes"], err


def test_genomes_are_told_with_their_sizes_and_are_as_small_as_was_asked(asked, capsys):
    code, made, err = genomes_of(asked[0], capsys, "--require", "macs<=prototype/8")
    assert (code, err) == (0, "")
    assert [genome["seed"] for genome in made] == list(range(1000, 1016))
    assert all(genome["macs"] <= asked[1].prototype.macs / 8 for genome in made)
    assert len({genome["digest"] for genome in made}) > 1


def test_genomes_that_no_budget_lets_be_small_enough_are_a_no(asked, capsys):
    code, made, err = genomes_of(asked[0], capsys, "--require", "macs<=10")
    assert code == 1
    assert all(genome["macs"] > 10 for genome in made)
    assert "only 0 of 16 are as small as was asked for" in err


@pytest.mark.parametrize("option", [["--epochs", "3"], ["--workers", "2"], ["--ray", "auto"]])
def test_genomes_alone_have_no_use_for_what_trains(asked, option, capsys):
    assert run(["generate", str(asked[0]), "--genomes", *option]) == 2
    assert "trains nothing" in capsys.readouterr().err
