"""From arrays of 8-bit images to a split, normalised data set of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgesynth.data.source import DataSet, Split
from edgesynth.data.splits import cut, digest, require_images
from edgesynth.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Labelled", "assemble"]

VAL_SHARE = 1 / 10
"""Cut off the official training images where there is an official test split."""
FREE_SHARE = 1 / 6
"""Share of test, and again of validation, where nothing official says otherwise."""


@dataclass(frozen=True)
class Labelled:
    """Images (N, C, H, W) as the 8 bits read from disk, and class indices (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Labelled:
        """A copy of the images at these indices, in their order."""
        return Labelled(self.images[indices], self.labels[indices])


def assemble(
    name: str,
    classes: Sequence[str],
    train: Labelled,
    *,
    val: Labelled | None = None,
    test: Labelled | None = None,
    split_seed: int,
    mirror: bool,
) -> DataSet:
    """Split, shuffle and normalise.

    `val` and `test` are official splits and stay as they are. One that is None is cut, stratified, from
    `train`: a tenth for `val` beside an official test, else a sixth of the images for each.

    Raises DataError if there are fewer than two classes, if a class has too few images for every split to get
    one, if an official split is empty, or if labels or shapes do not fit together.
    """
    for split, part in {"train": train, "val": val, "test": test}.items():
        if part is not None:
            _check(f"{name} ({split})", part, len(classes), train.images.shape[1:])
    require_images(train.labels, classes, 1 + (val is None) + (test is None), name)

    rng = np.random.Generator(np.random.PCG64(split_seed))
    indices = np.arange(len(train), dtype=np.int64)
    pool, count = train, round(len(train) * (FREE_SHARE if test is None else VAL_SHARE))
    if test is None:
        indices, cut_off = cut(pool.labels, count, rng)
        test = pool.take(cut_off)
    if val is None:
        stay, cut_off = cut(pool.labels[indices], count, rng)
        indices, val = indices[stay], pool.take(indices[cut_off])
    train = pool.take(rng.permutation(indices))

    mean, std = _moments(train.images)
    return DataSet(
        name=name,
        classes=tuple(classes),
        train=_split(train, mean, std),
        val=_split(val, mean, std),
        test=_split(test, mean, std),
        split_seed=split_seed,
        mirror=mirror,
        mean=mean,
        std=std,
        digests={
            split: digest(part.images, part.labels)
            for split, part in {"train": train, "val": val, "test": test}.items()
        },
    )


def _check(where: str, part: Labelled, classes: int, shape: tuple[int, ...]) -> None:
    if len(part.images) != len(part.labels):
        raise DataError(f"{where} has {len(part.images)} images but {len(part.labels)} labels")
    if not len(part):
        raise DataError(f"{where} has no image")
    if part.images.shape[1:] != shape:
        raise DataError(f"{where} has images of shape {part.images.shape[1:]}, but training has {shape}")
    if part.labels.min() < 0 or part.labels.max() >= classes:
        raise DataError(f"{where} has labels from {part.labels.min()} to {part.labels.max()}, but {classes} classes")


def _moments(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel, in units of the full scale 255.

    From the histogram, so in exact integers until the last step: the same on every machine. A channel that
    never changes gets std 1.
    """
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = [int(count) for count in np.bincount(images[:, channel].ravel(), minlength=256)]
        total = sum(counts)
        first = sum(value * count for value, count in enumerate(counts))
        second = sum(value * value * count for value, count in enumerate(counts))
        variance = (second * total - first * first) / (total * total)
        means.append(first / total / 255)
        stds.append(variance**0.5 / 255 if variance > 0 else 1.0)
    return tuple(means), tuple(stds)


def _split(part: Labelled, mean: tuple[float, ...], std: tuple[float, ...]) -> Split:
    import torch

    # astype copies, which frees the tensors from arrays that may be read-only
    images = torch.from_numpy(part.images.astype(np.float32)).div_(255)
    images.sub_(_per_channel(mean)).div_(_per_channel(std))
    return Split(images, torch.from_numpy(part.labels.astype(np.int64)))


def _per_channel(values: tuple[float, ...]) -> Tensor:
    import torch

    return torch.tensor(values, dtype=torch.float32)[None, :, None, None]
