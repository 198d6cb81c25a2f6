from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.report.scale import Linear, Log, linear_scale, log_scale

numbers = st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-6)
positive = st.floats(1e-3, 1e12)


@given(st.lists(numbers, min_size=1))
def test_a_linear_axis_holds_its_values_with_air(values: list[float]) -> None:
    scale = linear_scale(values, 10, 110)
    assert all(10 < scale(value) < 110 for value in values)


@given(st.lists(positive, min_size=1))
def test_a_log_axis_holds_its_values_with_air(values: list[float]) -> None:
    scale = log_scale(values, 10, 110)
    assert all(10 < scale(value) < 110 for value in values)


@given(numbers, st.floats(1e-3, 1e9), st.integers(2, 10))
def test_linear_ticks_are_few_ordered_inside_and_evenly_spaced(low: float, span: float, about: int) -> None:
    scale = Linear(low, low + max(span, abs(low) * 1e-3), 0, 100)
    ticks = scale.ticks(about)
    assert 1 <= len(ticks) <= 2 * about + 1
    assert ticks == sorted(ticks)
    assert all(-0.01 <= scale(tick) <= 100.01 for tick in ticks)
    steps = [b - a for a, b in pairwise(ticks)]
    assert all(step == pytest.approx(steps[0], rel=1e-3) for step in steps)


@given(positive, st.floats(1.3, 1e9), st.integers(3, 8))
def test_log_ticks_are_few_ordered_and_inside(low: float, factor: float, about: int) -> None:
    scale = Log(low, low * factor, 0, 100)
    ticks = scale.ticks(about)
    assert 2 <= len(ticks) <= 2 * about + 2
    assert ticks == sorted(ticks)
    assert all(-0.01 <= scale(tick) <= 100.01 for tick in ticks)


def test_equal_ratios_are_equal_lengths() -> None:
    scale = Log(1, 100, 0, 200)
    assert scale(10) == pytest.approx(100)
    assert scale(20) - scale(10) == pytest.approx(scale(2) - scale(1))


def test_an_axis_can_run_backwards() -> None:
    assert Linear(0, 1, 300, 0)(0.25) == 225


def test_known_ticks() -> None:
    assert Linear(0, 1, 0, 1).ticks(5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert Linear(-1, 1, 0, 1).ticks(4) == [-1, -0.5, 0, 0.5, 1]
    assert Log(1.5e6, 4e7, 0, 1).ticks() == [2e6, 5e6, 1e7, 2e7]
    assert Log(1, 1e6, 0, 1).ticks() == pytest.approx([1, 10, 100, 1e3, 1e4, 1e5, 1e6])


def test_an_axis_without_values_still_stands() -> None:
    assert linear_scale([], 0, 1).ticks()
    assert log_scale([], 0, 1).ticks()
    assert linear_scale([float("nan"), float("inf")], 0, 1).low < 0
