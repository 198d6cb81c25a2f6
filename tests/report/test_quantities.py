import pytest

from edgesynth.report.headline import headline
from edgesynth.report.quantities import best, bounds, energy_interval, of_the_run, value_of, why_unknown, written
from edgesynth.report.tables import size_rows, verdict_tables
from edgesynth.report.target_tables import target_tables
from tests.report.made_up import MODEL, NO_SENSOR, OTHERS, asked_again, changed, made_up_run


def test_bounds_are_numbers_where_they_can_be() -> None:
    run = changed(
        made_up_run(), requirements=["macs<=prototype/4", "params<=50k", "what is this", "energy_mj@tx2<=prototype"]
    )
    macs, params, foreign, unmeasured = bounds(run)
    assert macs.value == run.prototype.macs / 4
    assert (params.sign, params.value) == ("≤", 50_000)
    assert (foreign.text, foreign.value) == ("what is this", None)
    assert unmeasured.value is None


def test_values_by_the_names_of_requirements() -> None:
    run = made_up_run()
    network = run.networks[0]
    assert value_of(network, "accuracy") == network.val_metric
    assert value_of(network, "latency_ms", "host") == pytest.approx(0.612 * 1.02)
    assert value_of(network, "inferences_per_joule", "host") is None
    assert value_of(network, "latency_ms", "tx2") is None
    assert value_of(network, "beauty") is None


def test_the_best_meets_all_requirements_if_any_does() -> None:
    run = made_up_run()
    assert best(run) == run.networks[0]  # fermi-002 has the greater NetScore, and falls short
    nobody = [network.model_copy(update={"satisfied": False}) for network in run.networks]
    assert best(changed(run, networks=nobody)) == nobody[1]
    assert best(changed(run, networks=[])) is None


def test_the_best_by_another_performance() -> None:
    run = made_up_run()
    everybody = [network.model_copy(update={"satisfied": True}) for network in run.networks]
    chosen = best(changed(run, networks=everybody, performance="accuracy"))
    assert chosen is not None
    assert chosen.name == "fermi-003"
    chosen = best(changed(run, networks=everybody, performance="inferences_per_joule@tx2-sim"))
    assert chosen is not None
    assert chosen.name == "fermi-002"


def test_the_best_by_the_metric_alone() -> None:
    run = made_up_run()
    everybody = [network.model_copy(update={"satisfied": True}) for network in run.networks]
    chosen = best(changed(run, networks=everybody, performance="metric"))
    assert chosen is not None
    assert chosen.name == "fermi-003"


def test_what_was_asked_for_later_is_not_among_the_best_and_does_not_count() -> None:
    run = asked_again()
    assert [network.name for network in of_the_run(run)] == ["fermi-001", "fermi-002", "fermi-003"]
    assert best(run) == run.networks[0]
    found = headline(run)
    assert found.verdict == "1 of 3 FermiNets meet all requirements"
    assert found.others == "1 of 2 FermiNets generated later meet the other requirements that they were asked for."
    assert headline(made_up_run()).others == ""
    later = headline(changed(run, networks=run.networks[3:]))
    assert (later.best, later.verdict) == (None, "No FermiNet was made")
    assert later.others == found.others


def test_each_demand_has_a_table_of_its_own() -> None:
    run = asked_again()
    own, first, second = verdict_tables(run)
    assert own == verdict_tables(made_up_run())[0]
    assert [header.text for header in first.headers] == list(OTHERS)
    assert [header.bound for header in first.headers] == ["≤ 1.94\u202fM", "≥ 95.2\u00a0per J"]
    assert [row.name for row in first.rows] == ["resnet20", "fermi-004"]
    assert [cell.verdict for cell in first.rows[1].cells] == ["met", "not known"]
    assert first.rows[1].overall == "not met"
    assert [row.name for row in second.rows] == ["resnet20", "fermi-005"]
    assert [cell.verdict for cell in second.rows[1].cells] == ["met"]


def test_the_order_of_requirements_makes_no_other_demand() -> None:
    run = made_up_run()
    turned = [
        network.model_copy(update={"requirements": dict(reversed(network.requirements.items()))})
        for network in run.networks
    ]
    assert verdict_tables(changed(run, networks=turned)) == verdict_tables(run)


def test_energy_intervals_come_from_inferences_per_joule_if_need_be() -> None:
    measurement = made_up_run().networks[0].measurements[1]
    assert energy_interval(measurement) == pytest.approx((14.2 * 0.8, 14.2 * 1.25))
    only = measurement.model_copy(update={"ci95": {"inferences_per_joule": (50.0, 100.0)}})
    assert energy_interval(only) == (10.0, 20.0)
    assert energy_interval(measurement.model_copy(update={"ci95": {}})) is None


def test_the_reason_for_unknown_joules_is_the_warning_about_power() -> None:
    host = made_up_run().networks[0].measurements[0]
    assert why_unknown(host.model_copy(update={"warnings": ["clocks moved", NO_SENSOR]})) == NO_SENSOR
    assert why_unknown(host.model_copy(update={"warnings": []})) == "no reason was recorded"


def test_values_are_written_with_their_unit() -> None:
    assert written("latency_ms", 2).endswith("ms")
    assert written("inferences_per_joule", 87.24) == "87.2\u00a0per J"
    assert written("accuracy", 0.9).endswith("%")


def test_headline_of_a_network_that_got_worse() -> None:
    run = made_up_run()
    worse = run.networks[0].model_copy(
        update={"macs": 2 * run.prototype.macs, "test_metric": 0.95, "measurements": run.prototype.measurements}
    )
    macs, metric, latency, energy = headline(changed(run, networks=[worse])).tiles
    assert (macs.figure, macs.words) == ("2.00×", "more")
    assert metric.figure.startswith("+2.32")
    assert (latency.figure, energy.figure) == ("the same", "the same")


def test_headline_without_joules_says_why() -> None:
    run = made_up_run()
    networks = [network.model_copy(update={"measurements": network.measurements[:1]}) for network in run.networks]
    *_, latency, energy = headline(changed(run, networks=networks)).tiles
    assert latency.source == "measured"
    assert (energy.figure, energy.detail, energy.source) == ("unknown", NO_SENSOR, None)


def test_headline_without_a_test_split_uses_validation() -> None:
    run = made_up_run()
    networks = [network.model_copy(update={"test_metric": None}) for network in run.networks]
    assert headline(changed(run, networks=networks)).tiles[1].label == "Accuracy, validation"


def test_the_prototype_is_shown_and_not_judged() -> None:
    (table,) = verdict_tables(made_up_run())
    first, *others = table.rows
    assert first.prototype
    assert {cell.verdict for cell in first.cells} == {""}
    assert [cell.verdict for cell in others[2].cells] == ["met", "not met", "not met", "not known"]


def test_the_size_table_starts_with_the_prototype() -> None:
    rows = size_rows(made_up_run())
    assert [row.fewer for row in rows] == ["1.00×", "5.71×", "16.44×", "3.40×"]
    assert rows[0].parity == "4.1\u202f×\u202f10⁻⁶"


def test_neighbours_with_the_same_reason_share_a_cell() -> None:
    host, tx2 = target_tables(made_up_run())
    assert [row.span for row in host.rows] == [4, 0, 0, 0]
    assert not host.energy_known
    assert tx2.energy_known
    assert tx2.notes == [MODEL]
    assert host.sources == ["measured"]


def test_networks_without_a_measurement_are_named() -> None:
    run = made_up_run()
    bare = run.networks[0].model_copy(update={"measurements": run.networks[0].measurements[:1]})
    _, tx2 = target_tables(changed(run, networks=[bare, *run.networks[1:]]))
    assert tx2.absent == ["fermi-001"]
    assert len(tx2.rows) == 3
