import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from edgesynth.records import Genome, Network
from edgesynth.synthesis.rungs import LEAST_NETWORKS, RUNGS, compared, rank_correlation, rungs, why_unknown

# The example of ci.spear in the R package statpsych: https://dgbonett.github.io/statpsych/reference/ci.spear.html
ONE = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
OTHER = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]

values = st.integers(0, 30).map(lambda value: value / 30)
pairs = st.lists(st.tuples(values, values), min_size=LEAST_NETWORKS, max_size=40)


def network(index, val_metric, scores, epochs=8):
    return Network(
        name=f"fermi-{index}",
        seed=index,
        epochs=epochs,
        genome=Genome(widths={}, blocks={}),
        genome_digest=str(index),
        val_metric=val_metric,
        test_metric=None,
        params=1,
        macs=1,
        netscore=0.0,
        scores=scores,
        onnx="",
        parity=None,
        measurements=[],
        satisfied=True,
        requirements={},
    )


def networks(one, other, name="recalibrated", epochs=8):
    return [network(i, y, {name: x}, epochs) for i, (x, y) in enumerate(zip(one, other, strict=True))]


def test_a_published_example():
    rho, interval = rank_correlation(ONE, OTHER)
    assert rho == pytest.approx(0.8699639, abs=1e-7)
    assert interval == pytest.approx((0.5840951, 0.9638297), abs=1e-6)


@given(pairs)
def test_it_is_spearmans_and_lies_in_its_interval(drawn):
    one, other = zip(*drawn, strict=True)
    assume(len(set(one)) > 1 and len(set(other)) > 1)
    rho, interval = rank_correlation(one, other)
    assert rho == pytest.approx(spearmanr(one, other).statistic, abs=1e-9)
    if interval is None:
        assert abs(rho) == 1
    else:
        assert -1 < interval[0] < rho < interval[1] < 1


@given(st.permutations(range(12)))
def test_without_ties_it_is_the_sum_of_squared_differences(order):
    rho, _ = rank_correlation(range(12), order)
    squares = sum((i - place) ** 2 for i, place in enumerate(order))
    assert rho == pytest.approx(1 - 6 * squares / (12 * (12**2 - 1)))


@given(pairs)
def test_only_the_order_counts(drawn):
    one, other = zip(*drawn, strict=True)
    assert rank_correlation(one, other) == rank_correlation([math.exp(3 * x) for x in one], other)


def test_more_networks_make_a_narrower_interval():
    _, few = rank_correlation(ONE, OTHER)
    _, many = rank_correlation(ONE * 4, OTHER * 4)
    assert many[1] - many[0] < few[1] - few[0]


def test_all_rungs_are_there_in_order():
    found = rungs(networks(ONE, OTHER))
    assert [rung.name for rung in found] == list(RUNGS) == ["shared", "recalibrated", "adapted", "predicted", "short"]
    assert [rung.networks for rung in found] == [0, 15, 0, 0, 0]
    assert [rung.spearman is None for rung in found] == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ([], "no finished network has this score"),
        (networks([0.5], [0.9]), "only 1 finished network has this score, 5 are the least"),
        (networks([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]), "only 4 finished networks have"),
        (networks([0.5] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), "are equal"),
        (networks([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.5] * 6), "are equal"),
    ],
)
def test_what_cannot_be_told_is_none_with_a_reason(made, says):
    rung = rungs(made)[1]
    assert rung.spearman is None
    assert rung.ci95 is None
    assert says in why_unknown(rung)


def test_complete_agreement_has_no_interval():
    rung = rungs(networks([1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.4, 0.5]))[1]
    assert (rung.spearman, rung.ci95) == (1.0, None)
    assert rungs(networks([5, 4, 3, 2, 1], [0.1, 0.2, 0.3, 0.4, 0.5]))[1].spearman == -1.0


def test_only_networks_that_were_trained_alike_are_compared():
    most = networks(ONE, OTHER)
    others = [network(100 + i, 0.9, {"recalibrated": 0.1}, epochs) for i, epochs in enumerate([0] * 20 + [30] * 9)]
    assert compared([*others, *most], "recalibrated") == most
    assert rungs([*others, *most]) == rungs(most)
    assert {
        each.epochs for each in compared([network(0, 1, {"short": 1}, 4), network(1, 1, {"short": 1})], "short")
    } == {8}
    assert compared([network(0, 0.5, {"short": 0.5}, 0)], "short") == []
