import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesynth.data.splits import cut, digest, require_images
from edgesynth.errors import DataError


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@st.composite
def labels_and_count(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    counts = draw(st.lists(st.integers(2, 60), min_size=1, max_size=12))
    order = draw(st.permutations(range(sum(counts))))
    labels = np.repeat(np.arange(len(counts)), counts)[list(order)]
    return labels, draw(st.integers(1, len(labels) // 2))


@given(labels_and_count(), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_cut_is_a_partition_that_is_the_same_for_the_same_seed(case: tuple[np.ndarray, int], seed: int) -> None:
    labels, count = case
    stay, gone = cut(labels, count, generator(seed))
    assert sorted([*stay, *gone]) == list(range(len(labels)))
    assert np.all(np.diff(stay) > 0)
    assert np.all(np.diff(gone) > 0)
    again_stay, again_gone = cut(labels, count, generator(seed))
    assert np.array_equal(stay, again_stay)
    assert np.array_equal(gone, again_gone)


@given(labels_and_count())
@settings(deadline=None)
def test_a_cut_takes_its_share_of_each_class(case: tuple[np.ndarray, int]) -> None:
    labels, count = case
    stay, gone = cut(labels, count, generator())
    classes, counts = np.unique(labels, return_counts=True)
    for label, number in zip(classes, counts, strict=True):
        taken = int((labels[gone] == label).sum())
        assert 1 <= taken <= number - 1
        assert abs(taken - number * count / len(labels)) <= 1
    assert set(labels[stay]) == set(labels[gone]) == set(classes)


@given(st.integers(2, 10), st.integers(20, 40), st.integers(20, 200))
@settings(deadline=None)
def test_a_cut_meets_the_count_where_every_class_is_large_enough(classes: int, size: int, count: int) -> None:
    labels = np.repeat(np.arange(classes), size)
    count = min(max(count, classes), len(labels) // 2)
    assert len(cut(labels, count, generator())[1]) == count


def test_this_cut_never_changes() -> None:
    """A change here changes every split that anyone has recorded: bump the format of `digest` and say so."""
    _, gone = cut(np.arange(20) % 2, 4, generator(7))
    assert gone.tolist() == [0, 5, 9, 16]


def test_the_smallest_class_is_named_when_it_is_too_small() -> None:
    with pytest.raises(DataError, match=r"flowers has 1 image\(s\) of class 'tulip', and at least 3 are needed"):
        require_images(np.array([0, 0, 0, 1]), ("rose", "tulip"), 3, "flowers")


def test_one_class_is_too_few() -> None:
    with pytest.raises(DataError, match="at least 2"):
        require_images(np.array([0, 0, 0]), ("rose",), 1, "flowers")


def test_a_digest_sees_pixels_labels_order_and_shape() -> None:
    images = np.arange(2 * 4, dtype=np.uint8).reshape(2, 1, 2, 2)
    labels = np.array([0, 1])
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1
    digests = {
        digest(images, labels),
        digest(changed, labels),
        digest(images, 1 - labels),
        digest(images[::-1], labels),
        digest(images.reshape(2, 1, 1, 4), labels),
    }
    assert len(digests) == 5
    assert digest(images.copy(), labels.astype(np.int32)) in digests
