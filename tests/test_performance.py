import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesynth.performance import (
    LEAST_METRIC,
    PERFORMANCES,
    netscore,
    netscore_terms,
    performance,
    performance_terms,
)


@pytest.mark.parametrize(
    ("accuracy", "params", "macs", "score"),
    [
        pytest.param(0.71878, 3.5e6, 0.300e9, 74.05, id="MobileNetV2"),
        pytest.param(0.71592, 138.3575e6, 15.483862e9, 40.89, id="VGG-16"),
        pytest.param(1.0, 1e6, 1e9, 80.0, id="units"),
    ],
)
def test_the_published_formula_has_a_base_10_logarithm(accuracy, params, macs, score):
    assert round(netscore(accuracy, params, macs), 2) == score


@pytest.mark.parametrize("accuracy", [0.0, -0.1])
def test_nothing_right_scores_less_than_anything(accuracy):
    assert netscore(accuracy, 1, 1) == -math.inf


@given(st.floats(0.01, 1), st.integers(1, 10**9), st.integers(1, 10**12))
@settings(deadline=None)
def test_the_differentiable_form_has_the_same_values_and_the_expected_gradients(accuracy, params, macs):
    percent = torch.tensor(100 * accuracy, dtype=torch.float64, requires_grad=True)
    millions = torch.tensor(params / 1e6, dtype=torch.float64, requires_grad=True)
    billions = torch.tensor(macs / 1e9, dtype=torch.float64, requires_grad=True)
    score = netscore_terms(percent, millions, billions, torch.log10)
    assert score.item() == pytest.approx(netscore(accuracy, params, macs), abs=1e-9)
    score.backward()
    log = math.log(10)
    assert percent.grad.item() == pytest.approx(40 / (log * percent.item()))
    assert millions.grad.item() == pytest.approx(-10 / (log * millions.item()))
    assert billions.grad.item() == pytest.approx(-10 / (log * billions.item()))


@given(st.floats(0.01, 1), st.integers(1, 10**9), st.integers(1, 10**12))
@settings(deadline=None)
def test_half_the_size_is_worth_three_points_and_twice_the_accuracy_twelve(accuracy, params, macs):
    score = netscore(accuracy, params, macs)
    assert netscore(accuracy, params / 2, macs) - score == pytest.approx(10 * math.log10(2))
    assert netscore(accuracy, params, macs / 2) - score == pytest.approx(10 * math.log10(2))
    assert score - netscore(accuracy / 2, params, macs) == pytest.approx(40 * math.log10(2))


@given(st.floats(-0.1, 1), st.integers(1, 10**9), st.integers(1, 10**12))
@settings(deadline=None)
def test_performance_is_looked_up_by_name_and_never_infinite(metric, params, macs):
    shown = max(metric, LEAST_METRIC)
    assert performance("netscore", metric, params, macs) == pytest.approx(netscore(shown, params, macs))
    assert performance("metric", metric, params, macs) == pytest.approx(100 * shown)


def test_the_metric_alone_has_no_interest_in_sizes():
    metric = torch.tensor([0.5, 0.9], requires_grad=True)
    sizes = torch.tensor([1e5, 1e6], requires_grad=True)
    found = performance_terms("metric", metric, sizes, sizes, torch.log10)
    assert found.tolist() == pytest.approx([50, 90])
    slope, none = torch.autograd.grad(found.sum(), [metric, sizes], allow_unused=True)
    assert slope.tolist() == [100, 100]
    assert none is None


@pytest.mark.parametrize("name", PERFORMANCES)
def test_as_terms_and_as_a_number_it_is_the_same(name):
    terms = performance_terms(name, 0.9, 5e4, 2e6, math.log10)
    assert performance(name, 0.9, 50_000, 2_000_000) == pytest.approx(terms)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="unknown performance 'speed', known are netscore, metric"):
        performance("speed", 0.9, 1, 1)
