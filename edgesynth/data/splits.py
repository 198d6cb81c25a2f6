"""Cutting labelled images into splits. Pure functions over numpy arrays; one seed gives one cut, everywhere.

The random numbers are numpy's Generator over PCG64. numpy promises the stream of the bit generator, and
changes that of Generator.permutation only rarely and on record; should it, the digests of the splits tell.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgesynth.errors import DataError

__all__ = ["cut", "digest", "require_images"]

Indices = NDArray[np.int64]


def cut(labels: Indices, count: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Cut `count` of the images off, stratified: (indices that stay, indices cut off), both ascending.

    `labels` (N,) are class indices; each class that occurs must occur twice or more (see `require_images`).
    The count is spread over the classes by largest remainder, so that each class gives its share to within
    one image. At least one image of each class is cut off and at least one stays, even where that misses the
    count.
    """
    present, counts = np.unique(labels, return_counts=True)
    quotas = counts * count / len(labels)
    taken = np.clip(np.floor(quotas).astype(np.int64), 1, counts - 1)
    remainders = quotas - np.floor(quotas)
    missing = count - int(taken.sum())
    for index in np.argsort(-remainders, kind="stable"):
        if missing > 0 and taken[index] < min(quotas[index], counts[index] - 1):
            taken[index] += 1
            missing -= 1
    part = np.concatenate(
        [
            rng.permutation(np.flatnonzero(labels == label))[:number]
            for label, number in zip(present, taken, strict=True)
        ]
    )
    part = np.sort(part).astype(np.int64)
    return np.setdiff1d(np.arange(len(labels), dtype=np.int64), part, assume_unique=True), part


def require_images(labels: Indices, classes: Sequence[str], least: int, where: str) -> None:
    """Raise DataError unless there are 2 classes or more, each at least `least` times among `labels` (N,)."""
    if len(classes) < 2:
        raise DataError(f"{where} has {len(classes)} class(es), and at least 2 are needed")
    counts = np.bincount(labels, minlength=len(classes))
    index = int(counts.argmin())
    if counts[index] < least:
        raise DataError(
            f"{where} has {counts[index]} image(s) of class {classes[index]!r}, "
            f"and at least {least} are needed, so that every split gets one"
        )


def digest(images: NDArray[np.uint8], labels: Indices) -> str:
    """SHA-256 of a split: 8-bit images (N, C, H, W) and labels (N,), in their order."""
    state = hashlib.sha256(f"edgesynth split 1 {images.shape}\n".encode())
    state.update(np.ascontiguousarray(labels, dtype="<i8").data)
    state.update(np.ascontiguousarray(images).data)
    return state.hexdigest()
