"""Learning a model's errors from measurements."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgesynth.energy.correction import Correction

Floats = NDArray[np.float64]


def networks(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).uniform(0, 2, (count, 3))


def bent(features: Floats) -> Floats:
    """An error that is no constant: between -0.2 and 0.6."""
    wave: Floats = 0.2 + 0.3 * np.sin(features[:, 0]) - 0.1 * features[:, 1]
    return wave


def test_nothing_measured_nothing_corrected() -> None:
    mean, deviation = Correction(np.empty((0, 3)), np.empty(0), 0.3).predict(networks(4))
    assert mean == pytest.approx(np.zeros(4))
    assert (deviation >= 0.3).all()


def test_one_measurement_moves_all_and_its_own_kind_most() -> None:
    correction = Correction(np.zeros((1, 3)), np.array([0.4]), 0.3)
    mean, deviation = correction.predict(np.array([[0.0, 0, 0], [9.0, 9, 9]]))
    assert mean[0] == pytest.approx(0.4, abs=0.02)
    assert 0.1 < mean[1] <= mean[0]
    assert deviation[0] < deviation[1] < 0.5


def test_a_dozen_measurements_find_a_smooth_error() -> None:
    seen, unseen = networks(14), networks(200, seed=1)
    mean, deviation = Correction(seen, bent(seen), 0.3).predict(unseen)
    error = np.abs(mean - bent(unseen))
    assert np.median(error) < 0.01
    # The deviations are honest: few errors lie beyond two of them.
    assert (error > 2 * deviation + 0.003).mean() < 0.1


def test_noise_is_not_followed() -> None:
    features = networks(60)
    noise = np.random.default_rng(2).normal(0, 0.03, 60)
    mean, _ = Correction(features, 0.1 + noise, 0.3).predict(networks(100, seed=3))
    assert np.abs(mean - 0.1).max() < 0.03


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-2, 2)), min_size=1, max_size=12))
def test_finite_whatever_was_measured_even_the_same_network_twice(rows: list[tuple[float, float, float]]) -> None:
    features = np.array([[one, other] for one, other, _ in rows])
    mean, deviation = Correction(features, np.array([error for *_, error in rows]), 0.3).predict(features)
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()
    assert (deviation >= 0).all()


def test_order_does_not_matter() -> None:
    features, ask = networks(10), networks(5, seed=9)
    back = Correction(features[::-1], bent(features[::-1]), 0.3).predict(ask)
    for one, other in zip(Correction(features, bent(features), 0.3).predict(ask), back, strict=True):
        assert one == pytest.approx(other)


def test_how_certain_one_would_be_does_not_depend_on_what_comes_out() -> None:
    seen, then, ask = networks(6), networks(3, seed=4), networks(20, seed=5)
    now = Correction(seen, bent(seen), 0.3)
    expected = now.expecting(then)
    mean, deviation = expected.predict(ask)
    assert mean == pytest.approx(now.predict(ask)[0], abs=0.02)
    assert (deviation < now.predict(ask)[1]).all()
    assert expected.predict(then)[1].max() < 0.05
    assert now.expecting(np.empty((0, 3))) is now
