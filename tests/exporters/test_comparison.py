import sys

import numpy as np
import pytest
from edgesynth_exporters.comparison import compare, joined, judge_fp32
from edgesynth_exporters.errors import ParityError
from hypothesis import given, settings
from hypothesis import strategies as st

IMAGES = 6


def answers(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal((IMAGES, *shape))).astype(np.float32)


def off_by(values, error, at=(2, 1)):
    changed = values.copy()
    changed[at] += np.float32(error)
    return changed


@pytest.mark.parametrize(
    ("scale", "error", "passes"),
    [
        (1, 9e-5, True),
        (1, 1.2e-4, False),
        # float32 itself is coarser than 1e-4 there.
        (1000, 5e-3, True),
        (1000, 0.1, False),
    ],
)
def test_the_bound_is_absolute_and_for_large_outputs_relative(scale, error, passes):
    expected = answers(4, scale=scale)
    found = compare({"output": off_by(expected, error)}, {"output": expected})["output"]
    assert found.passed is passes
    assert found.images == IMAGES
    assert found.max_abs_error == pytest.approx(error, rel=0.2)
    assert found.greatest == pytest.approx(np.abs(expected).max())
    assert found.tolerance == pytest.approx(max(1e-4, 1e-5 * found.greatest))


def test_an_error_beyond_the_bound_is_named():
    expected = {"classes": answers(4), "mask": answers(3, 8, 8)}
    actual = expected | {"mask": off_by(expected["mask"], 0.25, (5, 2, 7, 7))}
    with pytest.raises(
        ParityError, match=r"output 'mask' differs from PyTorch's by up to 0\.25, and 0\.0001 is allowed"
    ):
        judge_fp32(compare(actual, expected))
    judge_fp32(compare(expected, expected))


def near_tie(*shape):
    """Answers, and others that differ by 2e-5 and name another class once."""
    expected = np.zeros((IMAGES, *shape), np.float32)
    expected[:, 0] = 1.0
    expected.reshape(IMAGES, shape[0], -1)[3, 1, 0] = 1.0 - 1e-5
    actual = expected.copy()
    actual.reshape(IMAGES, shape[0], -1)[3, 1, 0] = 1.0 + 1e-5
    return actual, expected


def test_another_answer_for_one_image_is_refused_however_small_the_error():
    actual, expected = near_tie(4)
    found = compare({"output": actual}, {"output": expected})
    assert found["output"].passed
    assert found["output"].argmax_agreement == pytest.approx(5 / 6)
    with pytest.raises(
        ParityError, match=r"same answer as PyTorch on 83\.33% of 6 images only, the greatest error being"
    ):
        judge_fp32(found)


def test_a_tie_somewhere_in_a_map_is_reported_alone():
    actual, expected = near_tie(3, 8, 8)
    found = compare({"mask": actual}, {"mask": expected})
    assert found["mask"].argmax_agreement == pytest.approx(1 - 1 / (IMAGES * 64))
    judge_fp32(found)


def test_without_bounds_every_number_passes():
    expected = answers(4)
    found = compare({"output": expected + 100}, {"output": expected}, bounded=False)["output"]
    assert (found.passed, found.tolerance) == (True, None)
    assert found.max_abs_error == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_never_passes(value, bounded):
    expected = answers(4)
    with pytest.raises(ParityError, match="output 'output' holds values that are no finite numbers"):
        compare({"output": off_by(expected, value)}, {"output": expected}, bounded)


def test_outputs_of_other_names_or_shapes_are_named():
    expected = {"a": answers(4), "b": answers(2)}
    with pytest.raises(ParityError, match="the file has the outputs b, a, PyTorch gave a, b"):
        compare({"b": expected["b"], "a": expected["a"]}, expected)
    with pytest.raises(ParityError, match=r"output 'b' has shape \(6, 4\), PyTorch gave \(6, 2\)"):
        compare(expected | {"b": expected["a"]}, expected)


def test_one_number_an_image_is_no_answer_among_several():
    assert compare({"o": answers()}, {"o": answers()})["o"].argmax_agreement is None
    assert compare({"o": answers(1)}, {"o": answers(1)})["o"].argmax_agreement is None


def test_integers_are_compared_too():
    expected = np.arange(IMAGES)
    assert compare({"o": expected}, {"o": expected})["o"].passed
    assert not compare({"o": expected + 1}, {"o": expected})["o"].passed


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_batches_together_are_as_the_whole(sizes, seed):
    rng = np.random.default_rng(seed)
    expected = rng.standard_normal((sum(sizes), 3)).astype(np.float32)
    actual = expected + rng.normal(0, 1e-4, expected.shape).astype(np.float32)
    cuts = np.cumsum(sizes)[:-1]
    parts = [compare({"o": a}, {"o": e}) for a, e in zip(np.split(actual, cuts), np.split(expected, cuts), strict=True)]
    whole, found = compare({"o": actual}, {"o": expected})["o"], joined(parts)["o"]
    for name in ("images", "max_abs_error", "mean_abs_error", "greatest", "argmax_agreement", "passed", "tolerance"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name)), name


def test_polygraphy_prints_nothing_and_installs_nothing(monkeypatch, capfd):
    from polygraphy import config

    monkeypatch.setattr(config, "AUTOINSTALL_DEPS", True)
    compare({"o": answers(4)}, {"o": answers(4, seed=1)})
    assert capfd.readouterr() == ("", "")
    assert config.AUTOINSTALL_DEPS is False
    assert "tensorrt" not in sys.modules
