"""Why a network looks as it does, and whether cheap scores can be trusted: the parts of the page that argue."""

from xml.etree import ElementTree

import pytest

from edgesynth.records import Genome, Insight, Results
from edgesynth.report.cheap import rung_charts, rung_rows
from edgesynth.report.evidence import evidence
from edgesynth.report.reasons import reasons
from edgesynth.synthesis.rungs import rungs
from tests.report.made_up import changed, long_run, made_up_run, wide_run


def insight_of(run: Results) -> Insight:
    assert run.generator.insight is not None
    return run.generator.insight


def with_price(run: Results, **prices: float) -> Insight:
    """The run's insight with other prices; dots in names are written as two underscores."""
    named = {name.replace("__", "."): price for name, price in prices.items()}
    insight = insight_of(run)
    groups = [g.model_copy(update={"price": named.get(g.name, g.price)}) for g in insight.groups]
    blocks = [b.model_copy(update={"price": named.get(b.name, b.price)}) for b in insight.blocks]
    return insight.model_copy(update={"groups": groups, "blocks": blocks})


@pytest.mark.parametrize("make", [made_up_run, wide_run])
def test_tables_begin_with_what_is_cheap_and_strips_with_the_input(make) -> None:  # type: ignore[no-untyped-def]
    run = make()
    insight = insight_of(run)
    shown = evidence(run, insight)
    price = {group.name: group.price for group in insight.groups}
    assert shown.names == [group.name for group in run.prototype.groups]
    assert [price[row.name] for row in shown.groups] == sorted(price.values())
    assert {row.name for row in shown.blocks} == {block.name for block in run.prototype.blocks}
    assert [strip.name for strip in shown.strips][5:] == [network.name for network in run.networks]


def test_a_strip_has_a_bar_and_a_tooltip_for_every_group() -> None:
    run = made_up_run()
    for strip in evidence(run, insight_of(run)).strips:
        chart = ElementTree.fromstring(strip.chart)
        tips = [group.findtext("title") or "" for group in chart.iter("g")]
        assert [tip.split(":")[0] for tip in tips] == [group.name for group in run.prototype.groups]
        assert chart.findtext("title")
        heights = [float(bar.get("height", -1)) for group in chart.iter("g") for bar in group.iter("rect")]
        assert all(0 <= height <= 40 for height in heights)


def test_the_dearest_group_fills_its_bar_and_the_others_are_in_proportion() -> None:
    run = made_up_run()
    insight = insight_of(run)
    chart = ElementTree.fromstring(evidence(run, insight).strips[0].chart)
    heights = [float(bar.get("height", -1)) for bar in chart.iter("rect") if bar.get("class") == "price"]
    dearest = max(group.price for group in insight.groups)
    assert heights == pytest.approx([40 * group.price / dearest for group in insight.groups], abs=0.01)


def test_a_quantity_that_nobody_knows_is_no_zero() -> None:
    run = made_up_run()
    groups = [group.model_copy(update={"dead": None}) for group in insight_of(run).groups]
    shown = evidence(run, insight_of(run).model_copy(update={"groups": groups}))
    assert shown.strips[3].scale == "unknown"
    assert {row.known[3].text for row in shown.groups} == {"unknown"}


def test_rows_say_what_each_network_kept() -> None:
    run = made_up_run()
    shown = evidence(run, insight_of(run))
    by_name = {row.name: [cell.text for cell in row.networks] for row in [*shown.groups, *shown.blocks]}
    assert by_name["layer2.2.conv1"] == ["16", "dropped", "dropped"]
    assert by_name["layer2.2"] == ["■ kept", "□ dropped", "□ dropped"]
    assert [[cell.text for cell in row.networks] for row in shown.resolutions] == [["■ takes it"] * 3, ["–"] * 3]


def test_a_network_that_resizes_takes_its_resolution() -> None:
    run = made_up_run()
    genome = run.networks[0].genome.model_copy(update={"resolution": (20, 20)})
    networks = [run.networks[0].model_copy(update={"genome": genome}), *run.networks[1:]]
    rows = evidence(changed(run, networks=networks), insight_of(run)).resolutions
    assert [cell.text for cell in rows[1].networks] == ["■ takes it", "–", "–"]


def test_one_resolution_is_no_choice() -> None:
    run = made_up_run()
    one = insight_of(run).model_copy(update={"resolutions": insight_of(run).resolutions[:1]})
    assert evidence(run, one).resolutions == []


def test_what_gave_up_most_and_what_was_spared() -> None:
    run = made_up_run()
    first = reasons(run, insight_of(run))[0]
    assert [item.name for item in first.dropped] == ["layer3.1", "layer1.2"]
    kept = {group.name: run.networks[0].genome.widths[group.name] / group.channels for group in run.prototype.groups}
    given, spared = [item.name for item in first.given_up], [item.name for item in first.spared[:-1]]
    alive = [share for name, share in kept.items() if name not in ("layer3.1.conv1", "layer1.2.conv1")]
    assert sorted(kept[name] for name in given) == sorted(alive)[:3]
    assert min(kept[name] for name in spared) > max(kept[name] for name in given)
    assert first.summary.startswith("Dearer groups kept more: Spearman 0.80")


def test_only_some_of_many_dropped_blocks_are_listed() -> None:
    run = made_up_run()
    second = reasons(run, insight_of(run))[1]
    assert (len(second.dropped), second.more) == (3, 2)


def test_a_place_is_counted_from_the_nearer_end_and_shared_by_equals() -> None:
    run = made_up_run()
    insight = with_price(run, layer3__1=0.0, layer1__0=0.0, layer1__2=0.5)
    first = reasons(run, insight)[0]
    words = {item.name: item.words for item in first.dropped}
    assert "0.00 points for dropping it (joint cheapest of 7)" in words["layer3.1"]
    assert "50.00 points for dropping it (dearest of 7)" in words["layer1.2"]


def test_one_block_is_neither_cheap_nor_dear() -> None:
    run = made_up_run()
    block = next(block for block in insight_of(run).blocks if block.name == "layer3.1")
    first = reasons(run, insight_of(run).model_copy(update={"blocks": [block]}))[0]
    assert [item.words for item in first.dropped] == [
        "goes: the inquisitor expects 0.08 points for dropping it (the only one); it changes the stream by 0.24"
    ]


def test_a_network_that_kept_everything_gave_up_nothing() -> None:
    run = made_up_run()
    whole = Genome(
        widths={group.name: group.channels for group in run.prototype.groups},
        blocks={block.name: True for block in run.prototype.blocks},
    )
    network = run.networks[0].model_copy(update={"genome": whole})
    (only,) = reasons(changed(run, networks=[network]), insight_of(run))
    assert (only.dropped, only.given_up, only.summary) == ([], [], "")
    assert len(only.spared) == 4


def test_every_rung_has_a_row_and_those_with_networks_a_chart() -> None:
    run = long_run()
    rows, charts = rung_rows(run), rung_charts(run)
    assert [row.name for row in rows] == ["shared", "recalibrated", "adapted", "predicted", "short"]
    assert [bool(row.why) for row in rows] == [False, False, False, False, True]
    assert [figure.heading.split(":")[0] for figure in charts] == ["Shared", "Recalibrated", "Adapted", "Predicted"]
    for figure in charts:
        chart = ElementTree.fromstring(figure.chart)
        assert sum("point" in (mark.get("class") or "") for mark in chart.iter("g")) == 16


def test_too_few_networks_are_shown_and_not_judged() -> None:
    run = made_up_run()
    networks = [
        network.model_copy(update={"scores": {"recalibrated": 0.6 + 0.1 * place}})
        for place, network in enumerate(run.networks)
    ]
    generator = run.generator.model_copy(update={"rungs": rungs(networks)})
    few = changed(run, networks=networks, generator=generator)
    assert rung_rows(few)[1].why == "only 3 finished networks have this score, 5 are the least"
    (chart,) = rung_charts(few)
    assert chart.caption.startswith("No rank correlation: only 3")


def test_complete_agreement_has_no_interval() -> None:
    run = long_run()
    networks = [
        network.model_copy(update={"scores": {"short": network.val_metric / 2, "shared": -network.val_metric}})
        for network in run.networks
    ]
    generator = run.generator.model_copy(update={"rungs": rungs(networks)})
    rows = {row.name: row.interval for row in rung_rows(changed(run, networks=networks, generator=generator))}
    assert rows["short"] == "none: all ranks agree"
    assert rows["shared"] == "none: all ranks are reversed"
