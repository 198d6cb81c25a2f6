"""What a model estimated against what its board said."""

from xml.etree import ElementTree

import pytest

from edgesynth.records import Measurement, Network, Results
from edgesynth.report.agreement import agreement_charts
from edgesynth.report.trade_offs import energy_sources, trade_off_charts
from tests.report.made_up import changed, made_up_run, on_board, on_tx2, with_board


def beside(pairs: list[tuple[Measurement, Measurement]]) -> Results:
    """Networks with a board's record and a model's each, and a prototype without any."""
    run = made_up_run()
    networks: list[Network] = [
        run.networks[0].model_copy(update={"name": f"net-{place}", "measurements": [board, model]})
        for place, (board, model) in enumerate(pairs)
    ]
    return changed(run, prototype=run.prototype.model_copy(update={"measurements": []}), networks=networks)


def model(latency_ms: float, energy_mj: float) -> Measurement:
    return on_tx2(latency_ms, energy_mj).model_copy(update={"device": {"board": "tx2"}})


def test_energy_and_latency_of_what_both_know() -> None:
    energy, latency = agreement_charts(with_board())
    assert energy.heading == "Energy: tx2-sim against tx2, measured"
    assert latency.heading == "Latency: tx2-sim against tx2, measured"
    for figure in (energy, latency):
        svg = ElementTree.fromstring(figure.chart)
        marks = [group for group in svg.iter("g") if group.get("class", "").startswith("point")]
        # The prototype and four networks; the fifth was not measured.
        assert len(marks) == 5
        assert all(len([line for line in mark.iter("line") if line.get("class") == "error"]) == 6 for mark in marks)
    assert latency.caption.startswith("Relative error over 5 networks, all too low: median 5.7\u202f%, worst −5.7")
    assert "Spearman 1.00" in latency.caption


def test_errors_are_those_of_the_estimate_over_the_measurement() -> None:
    # +10 %, -20 %, +30 %, 0 % and 0 %.
    factors = (1.1, 0.8, 1.3, 1.0, 1.0)
    said = [1.0, 2.0, 3.0, 4.0, 5.0]
    pairs = [
        (on_board(latency, 4 * latency), model(latency * factor, 4 * latency))
        for latency, factor in zip(said, factors, strict=True)
    ]
    energy, latency = agreement_charts(beside(pairs))
    assert latency.caption.startswith("Relative error over 5 networks: median 10.0\u202f%, worst +30.0\u202f%.")
    assert "Spearman 1.00." in latency.caption.replace(" (95", ".")
    assert "median 0.0\u202f%" in energy.caption


@pytest.mark.parametrize("count", [1, 3])
def test_with_few_networks_nothing_is_claimed(count: int) -> None:
    figures = agreement_charts(beside([(on_board(2.0 + n, 8.0), model(2.0, 9.0)) for n in range(count)]))
    noun = "network has" if count == 1 else "networks have"
    for figure in figures:
        assert f"Only {count} {noun} both figures, 5 are the least" in figure.caption
        assert "median" not in figure.caption
        assert "Spearman" not in figure.caption


def test_what_no_board_said_is_no_point() -> None:
    estimated = on_board(2.0, 8.0, "estimated")
    assert agreement_charts(beside([(estimated, model(2.0, 8.0))])) == []
    assert agreement_charts(made_up_run()) == []
    # A model that does not say which board it is of is compared with none.
    assert agreement_charts(beside([(on_board(2.0, 8.0), on_tx2(2.0, 8.0))])) == []


def test_a_board_without_joules_is_compared_by_its_latency() -> None:
    (figure,) = agreement_charts(beside([(on_board(2.0, None, "simulated"), model(2.2, 8.0))]))
    assert figure.heading == "Latency: tx2-sim against tx2, simulated"
    svg = ElementTree.fromstring(figure.chart)
    assert any(circle.get("class") == "ring simulated" for circle in svg.iter("circle"))


def test_other_precisions_are_named() -> None:
    board = on_board(2.0, 8.0)
    fp32 = board.model_copy(update={"engine": board.engine.model_copy(update={"precision": "fp32"})})
    energy, _ = agreement_charts(beside([(fp32, model(2.0, 8.0))]))
    assert "Estimated at fp16, measured at fp32." in energy.caption


def test_joules_that_were_not_measured_look_different() -> None:
    run = with_board()
    assert energy_sources(run) == {"measured", "estimated"}
    tx2 = next(figure for figure in trade_off_charts(run) if "on tx2," in figure.heading)
    svg = ElementTree.fromstring(tx2.chart)
    ringed = [
        (group.findtext("title") or "").split(":")[0]
        for group in svg.iter("g")
        if any(circle.get("class") == "ring estimated" for circle in group.findall("circle"))
    ]
    assert ringed == ["fermi-005"]
    macs = ElementTree.fromstring(trade_off_charts(run)[0].chart)
    assert not any("ring" in circle.get("class", "") for circle in macs.iter("circle"))
