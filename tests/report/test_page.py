import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgesynth.errors import RunError, StorageError
from edgesynth.records import Results
from edgesynth.report.page import read_results, render, write_report
from tests.report.made_up import asked_again, changed, long_run, made_up_run, wide_run, with_board

HOSTILE = "<script>alert('x')</script>\"'&"


class Outline(HTMLParser):
    """Every tag with its attributes, the text, and whether tags nest."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.words))


def without_networks() -> Results:
    return changed(made_up_run(), networks=[])


def without_measurements() -> Results:
    run = made_up_run()
    networks = [network.model_copy(update={"measurements": [], "parity": None}) for network in run.networks]
    return changed(run, networks=networks, prototype=run.prototype.model_copy(update={"measurements": []}))


def without_success() -> Results:
    run = made_up_run()
    networks = [network.model_copy(update={"satisfied": False}) for network in run.networks]
    return changed(run, networks=networks)


def without_correlations() -> Results:
    run = made_up_run()
    cycles = [cycle.model_copy(update={"rank_correlation": None}) for cycle in run.generator.cycles]
    return changed(run, generator=run.generator.model_copy(update={"cycles": cycles}))


def without_cycles() -> Results:
    run = made_up_run()
    return changed(run, generator=run.generator.model_copy(update={"cycles": []}))


def without_insight() -> Results:
    """As a run of an earlier version recorded it."""
    run = made_up_run()
    return changed(run, generator=run.generator.model_copy(update={"insight": None, "rungs": []}))


def without_responses() -> Results:
    run = made_up_run()
    insight = run.generator.insight
    assert insight is not None
    unknown = {"taylor": None, "mean_abs": None, "dead": None, "price": 0.0}
    groups = [group.model_copy(update=unknown) for group in insight.groups]
    blocks = [block.model_copy(update={"change": None}) for block in insight.blocks]
    silent = insight.model_copy(update={"groups": groups, "blocks": blocks, "resolutions": insight.resolutions[:1]})
    return changed(run, generator=run.generator.model_copy(update={"insight": silent}))


def without_requirements() -> Results:
    run = made_up_run()
    networks = [network.model_copy(update={"requirements": {}, "satisfied": True}) for network in run.networks]
    return changed(run, requirements=[], networks=networks)


def with_infinities() -> Results:
    run = made_up_run()
    cycles = [cycle.model_copy(update={"mean_u": -math.inf}) for cycle in run.generator.cycles]
    dead = run.networks[0].model_copy(update={"netscore": -math.inf, "val_metric": 0.0, "macs": 0})
    generator = run.generator.model_copy(update={"cycles": cycles})
    return changed(run, networks=[dead, *run.networks[1:]], generator=generator)


def hostile() -> Results:
    run = made_up_run()
    network = run.networks[0].model_copy(
        update={"name": HOSTILE, "onnx": HOSTILE, "requirements": {HOSTILE: None}, "genome_digest": HOSTILE}
    )
    prototype = run.prototype
    groups = [group.model_copy(update={"name": HOSTILE}) for group in prototype.groups]
    blocks = [block.model_copy(update={"name": HOSTILE}) for block in prototype.blocks]
    insight = run.generator.insight
    assert insight is not None
    named = insight.model_copy(
        update={
            "groups": [group.model_copy(update={"name": HOSTILE}) for group in insight.groups],
            "blocks": [block.model_copy(update={"name": HOSTILE}) for block in insight.blocks],
        }
    )
    return changed(
        run,
        generator=run.generator.model_copy(update={"insight": named}),
        networks=[network],
        prototype=prototype.model_copy(update={"name": HOSTILE, "groups": groups, "blocks": blocks}),
        requirements=[HOSTILE],
        performance=HOSTILE,
        warnings=[HOSTILE],
        data=run.data.model_copy(update={"name": HOSTILE, "metric": HOSTILE, "digests": {}}),
    )


def hostile_board() -> Results:
    """Records as a device that is not well may have told them."""
    run = with_board()
    networks = []
    for network in run.networks:
        board, model = network.measurements[1:]
        assert board.trace is None or model.layers is not None
        told = board.model_copy(
            update={
                "device": {"hostname": HOSTILE, "model": [HOSTILE], "power_mode": {"id": 0}},
                "ci95": {"inferences_per_joule": (0.0, math.inf), "energy_mj": (-1.0, 5.0)},
                "trace": None if board.trace is None else board.trace.model_copy(update={"file": HOSTILE}),
                "measured_unix_s": 1e300,
            }
        )
        layers = [layer.model_copy(update={"layer": HOSTILE, "kind": HOSTILE}) for layer in model.layers or ()]
        estimated = model.model_copy(update={"layers": [*layers, *(model.layers or ())[-1:]]})
        networks.append(network.model_copy(update={"measurements": [told, estimated]}))
    return changed(run, networks=networks)


RUNS = {
    make.__name__: make
    for make in (
        made_up_run,
        asked_again,
        wide_run,
        with_board,
        hostile_board,
        long_run,
        without_networks,
        without_measurements,
        without_success,
        without_correlations,
        without_cycles,
        without_insight,
        without_responses,
        without_requirements,
        with_infinities,
        hostile,
    )
}


@pytest.mark.parametrize("name", RUNS)
def test_every_run_makes_a_page_that_is_whole_and_needs_nothing_from_outside(name: str) -> None:
    run = RUNS[name]()
    page = render(run)
    outline = Outline(page)
    assert "://" not in page
    assert "@import" not in page
    assert "url(" not in page
    for tag, attributes in outline.tags:
        assert tag not in {"script", "iframe", "img", "object"}
        assert "src" not in attributes
        assert not any(key.startswith("on") for key in attributes)
        if "href" in attributes:
            assert (attributes["href"] or "").startswith(("#", "data:,"))
    for network in run.networks:
        assert network.name in outline.text
    assert run.prototype.name in outline.text
    assert "None" not in outline.text.replace("None meets all", "").replace("None.", "")
    assert " nan" not in outline.text


def test_links_lead_somewhere_and_names_are_unique() -> None:
    outline = Outline(render(made_up_run()))
    names = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    links = [attributes["href"] or "" for tag, attributes in outline.tags if tag == "a"]
    assert len(names) == len(set(names))
    assert {link[1:] for link in links} == set(names)


def test_the_words_are_explained_once() -> None:
    page = render(made_up_run())
    assert re.findall("<dfn>(.*?)</dfn>", page) == ["FermiNet", "NetScore", "generator", "inquisitor", "price"]


def test_the_headline() -> None:
    text = Outline(render(made_up_run())).text
    assert "1 of 3 FermiNets meet all requirements" in text
    assert "5.71× fewer" in text
    assert "−1.05 points" in text
    assert re.search(r"Latency on host 3\.01× faster .* measured", text)
    assert re.search(r"Inferences per joule on tx2-sim 2\.22× more .* estimated", text)


def test_networks_for_other_requirements_are_told_apart() -> None:
    text = Outline(render(asked_again())).text
    assert "1 of 3 FermiNets meet all requirements" in text
    assert "1 of 2 FermiNets generated later meet the other requirements that they were asked for." in text
    assert "fermi-004 ✕ does not meet what was asked" in text
    assert "asked for macs<=prototype/16, inferences_per_joule@tx2-sim>=3*prototype" in text
    assert "fermi-005 ✓ meets what was asked" in text
    assert "fermi-001 ✓ meets all requirements" in text
    assert "Asked for later" in text
    assert "Asked for later" not in Outline(render(made_up_run())).text
    # Theirs is one verdict that is not known, in their table and in the certificate; the run has one of its own.
    assert text.count("? not known") == Outline(render(made_up_run())).text.count("? not known") + 2


def test_a_run_for_the_metric_alone_says_so_in_words() -> None:
    text = Outline(render(changed(made_up_run(), performance="metric"))).text
    assert "the one with the greatest accuracy in percent among those" in text
    assert "Universal performance U: accuracy in percent" in text
    assert "Performance U accuracy in percent" in text
    assert "metric alone" not in text


def test_unknown_joules_say_why() -> None:
    text = Outline(render(made_up_run())).text
    assert "unknown: this host has no power sensor" in text


def test_verdicts_are_words() -> None:
    text = Outline(render(made_up_run())).text
    assert {"✓ met", "✕ not met", "? not known"} <= set(re.findall("✓ met|✕ not met|\\? not known", text))


def test_no_joules_anywhere_is_said() -> None:
    text = Outline(render(without_measurements())).text
    assert "No target of this run knows joules" in text
    assert "No latency or energy was measured or estimated" in text


def test_nothing_that_was_not_measured_says_measured() -> None:
    run = made_up_run()
    networks = [network.model_copy(update={"measurements": network.measurements[1:]}) for network in run.networks]
    prototype = run.prototype.model_copy(update={"measurements": run.prototype.measurements[1:]})
    text = Outline(render(changed(run, networks=networks, prototype=prototype, warnings=[]))).text
    assert "estimated" in text
    assert not re.search(r"\bmeasured\b", text)


def test_no_network_is_no_failure() -> None:
    assert "No FermiNet was made" in Outline(render(without_networks())).text


def test_nobody_meets_all() -> None:
    text = Outline(render(without_success())).text
    assert "0 of 3 FermiNets meet all requirements" in text
    assert "None meets all requirements" in text


def test_an_earlier_run_says_what_it_did_not_record(tmp_path: Path) -> None:
    content = json.loads(without_insight().model_dump_json())
    for key in ("insight", "rungs", "conditions"):
        del content["generator"][key]
    for network in content["networks"]:
        del network["scores"]
    text = Outline(render(read_results(write(tmp_path, content)))).text
    assert "did not record what its inquisitor had learned" in text
    assert "did not record the cheap scores" in text


def test_cheap_scores_are_figures_or_reasons() -> None:
    text = Outline(render(long_run())).text
    assert re.search(r"recalibrated the same, batch norm statistics taken anew 16 0\.94 0\.80 to 0\.98", text)
    assert "unknown: no finished network has this score" in text
    assert "Spearman −0.03, 95 % interval −0.52 to 0.47, n = 16." in text.replace("\u202f", " ")


def test_a_certificate_says_what_decides_and_where_it_comes_from() -> None:
    text = Outline(render(with_board())).text.replace("\u202f", " ").replace("\u00a0", " ")
    assert "inferences_per_joule@tx2>=2*prototype ≥ 60.6 per J 107 per J 105 to 109 per J ✓ met tx2 measured" in text
    assert "accuracy>=prototype-0.02 ≥ 91.12 % 91.94 % – ✓ met validation split, 6 000 images" in text
    assert "macs<=prototype/4 ≤ 7.76 M 5.43 M – ✓ met counted" in text
    assert "host name shelf-3" in text
    assert "serial 0421318042" in text
    assert "power mode 0 MAXN" in text
    assert "engine tensorrt 8.2.1, fp16, batch 1" in text
    assert "agent 0.1.0" in text
    assert "when 2026-09-21 14:13 UTC" in text
    assert re.search(r"trace traces/[0-9a-f]{64}\.jsonl\.gz", text)
    assert "edgesynth-agent recompute FILE" in text
    assert "trace unverified: tx2 did not measure it: no tx2 answers" in text


def test_a_run_without_boards_has_certificates_without_traces() -> None:
    text = Outline(render(made_up_run())).text
    assert "trace an estimate has no trace" in text
    assert "edgesynth-agent recompute" not in text
    assert "The model against the board" not in text
    assert "Certificates" not in Outline(render(without_networks())).text


def test_layers_are_compared_with_those_of_the_prototype() -> None:
    text = Outline(render(with_board())).text.replace("\u202f", " ")
    assert "Energy by layer on tx2-sim estimated" in text
    assert "8.90 of the prototype’s 31.50 mJ" in text
    assert re.search(r"layer1\.2\.conv1 –/\d\.\d\d mJ –/\d\.\d\d\d ms", text)
    assert "overhead of the program" in text
    assert "Energy by layer" not in Outline(render(made_up_run())).text


def test_why_says_what_was_cut_and_what_the_evidence_was() -> None:
    text = Outline(render(made_up_run())).text.replace("\u202f", " ")
    assert "layer3.1 goes: the inquisitor expects 0.08 points for dropping it (2nd cheapest of 7)" in text
    assert "conv1 keeps 8 of 16 channels; the inquisitor expects 4.03 points for halving it (2nd dearest of 12)" in text
    assert "it changes the stream by 0.24" in text


def test_the_same_results_give_the_same_page() -> None:
    assert render(made_up_run()) == render(made_up_run())


def test_a_hostile_name_is_only_text() -> None:
    page = render(hostile())
    assert "<script" not in page
    assert HOSTILE in Outline(page).text


def write(run: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (run / "results.json").write_text(text, "utf-8")
    return run


def test_results_make_a_file(tmp_path: Path) -> None:
    write(tmp_path, made_up_run().model_dump_json())
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text("utf-8") == render(made_up_run())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "results.json"]
    write_report(tmp_path)


def test_results_survive_the_round_trip(tmp_path: Path) -> None:
    assert read_results(write(tmp_path, made_up_run().model_dump_json())) == made_up_run()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not valid JSON"),
        ("[]", "has schema 'None'"),
        (
            {"schema": "edgesynth.results/9"},
            "has schema 'edgesynth.results/9', this edgesynth reads 'edgesynth.results/1'",
        ),
        ({"schema": "edgesynth.results/1"}, r"version: Field required \(and \d+ more\)"),
        ('{"schema": NaN}', "NaN is no JSON number"),
        ("[" * 100_000, "is not valid JSON"),
    ],
)
def test_bad_results_are_one_clear_line(tmp_path: Path, content: object, says: str) -> None:
    with pytest.raises(RunError, match=says) as caught:
        write_report(write(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_no_run_and_no_results(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run directory"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"holds no results\.json"):
        write_report(tmp_path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="is not valid JSON"):
        write_report(tmp_path)


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path, made_up_run().model_dump_json())
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "results.json"]
