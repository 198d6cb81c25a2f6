"""What each layer costs, beside the prototype."""

from xml.etree import ElementTree

import pytest

from edgesynth.records import LayerCost, Measurement, Network, Results
from edgesynth.report.layers import OVERHEAD, LayerTable, layer_tables
from tests.report.made_up import changed, made_up_run, with_board


def number(text: str, place: int) -> float:
    part = text.split("/")[place]
    return 0.0 if part == "–" else float(part)


def test_the_layers_add_up_to_what_the_model_says() -> None:
    run = with_board()
    for network in run.networks:
        (table,) = layer_tables(run, network)
        for place, subject in enumerate((network, run.prototype)):
            record = subject.measurements[-1]
            assert record.latency_ms is not None
            tolerance = 0.006 * len(table.rows)
            energy_mj = sum(number(row.energy, place) for row in table.rows)
            assert energy_mj == pytest.approx(record.energy_mj, abs=tolerance)
            time_ms = sum(number(row.time, place) for row in table.rows)
            assert time_ms == pytest.approx(record.latency_ms.mean, abs=tolerance)


def test_dropped_layers_stay_in_their_place() -> None:
    run = with_board()
    (table,) = layer_tables(run, run.networks[0])
    names = [row.name for row in table.rows]
    assert names[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert names[-1] == OVERHEAD
    assert {row.name for row in table.rows if row.gone} == {
        "layer1.2.conv1",
        "layer1.2.conv2",
        "layer3.1.conv1",
        "layer3.1.conv2",
    }
    assert not any(row.added for row in table.rows)
    svg = ElementTree.fromstring(table.silhouette)
    # The overhead is no layer.
    assert len(list(svg.iter("g"))) == len(names) - 1


def with_layers(record: Measurement, *layers: LayerCost) -> Measurement:
    return record.model_copy(update={"layers": list(layers)})


def compared(before: list[LayerCost], after: list[LayerCost], idle_power_w: float | None) -> LayerTable:
    """The table of one network whose model says just that."""
    run = with_board()
    record = run.prototype.measurements[-1].model_copy(update={"idle_power_w": idle_power_w})
    prototype = run.prototype.model_copy(update={"measurements": [with_layers(record, *before)]})
    network: Network = run.networks[0].model_copy(update={"measurements": [with_layers(record, *after)]})
    made: Results = changed(run, prototype=prototype, networks=[network])
    (table,) = layer_tables(made, network)
    return table


def cost(layer: str, time_ms: float, energy_mj: float | None, kind: str = "convolution") -> LayerCost:
    return LayerCost(layer=layer, kind=kind, latency_ms=time_ms, energy_mj=energy_mj)


def test_idle_power_goes_with_the_time_of_a_layer() -> None:
    # 2 W at idle over 3 ms are 6 mJ, all in the rest of the record; 1 mJ more is the overhead's own.
    before = [cost("a", 1.0, 0.5), cost("b", 1.0, 1.5), cost("overhead and idle", 1.0, 7.0, "rest")]
    after = [cost("a", 1.0, 0.5), cost("c", 0.5, 1.0), cost("overhead and idle", 1.0, 6.0, "rest")]
    table = compared(before, after, 2.0)
    assert [(row.name, row.energy, row.time) for row in table.rows] == [
        ("a", "2.50/2.50", "1.00/1.00"),
        ("c", "2.00/–", "0.50/–"),
        ("b", "–/3.50", "–/1.00"),
        (OVERHEAD, "3.00/3.00", "1.00/1.00"),
    ]
    assert [(row.gone, row.added) for row in table.rows[:3]] == [(False, False), (False, True), (True, False)]
    assert table.total == "7.50 of the prototype’s 9.00\u202fmJ"


def test_a_model_without_joules_tells_time() -> None:
    layers = [cost("a", 1.0, None), cost("overhead and idle", 0.5, None, "rest")]
    table = compared(layers, layers, None)
    assert (table.unit, table.total) == ("ms", "1.50 of the prototype’s 1.50\u202fms")
    assert [(row.energy, row.time) for row in table.rows] == [("", "1.00/1.00"), ("", "0.50/0.50")]


def test_without_layers_there_is_no_table() -> None:
    run = made_up_run()
    assert layer_tables(run, run.networks[0]) == []
