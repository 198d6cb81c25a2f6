"""What a data set is to edgesynth: a source of labelled images, split the same way on every machine."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgesynth.errors import DataError

if TYPE_CHECKING:  # so that asking for the list of data sets does not import torch
    from torch import Tensor

__all__ = ["Availability", "DataSet", "DataSource", "Progress", "Split"]

Progress = Callable[[str, int, int], None]
"""Called while a file is downloaded: its name, the bytes so far, the bytes in all."""


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) float32, normalised, and their targets (N,) int64."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class DataSet:
    """One data set, loaded and split.

    `train`, `val` and `test` share no image. Selection looks at `val`; `test` is read once, at the end.
    `train` comes shuffled, the order fixed by `split_seed`; `val` and `test` keep the order of the source.
    An image is (p / 255 - mean) / std, p its 8-bit pixels, with one mean and std a channel, taken from
    `train`. `mirror` says that a mirrored image keeps its class. `digests` has a SHA-256 for "train", "val"
    and "test" over pixels and labels in their order: two data sets of equal digests are the same data, split
    the same way.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    split_seed: int
    mirror: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digests: dict[str, str]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def limit(self, train: int | None) -> DataSet:
        """The same data set with only the first `train` training images, for quick trials; None keeps them
        all.

        The images are views, not copies. Mean and std stay those of the full split, so the limited and the
        full data set feed a network the same numbers. The digest of "train" changes with the limit.

        Raises DataError if `train` is below 1.
        """
        if train is None or train >= len(self.train):
            return self
        if train < 1:
            raise DataError(f"cannot limit the training images of {self.name} to {train}: at least 1 is needed")
        digest = hashlib.sha256(f"{self.digests['train']} first {train}".encode()).hexdigest()
        return replace(
            self,
            train=Split(self.train.images[:train], self.train.targets[:train]),
            digests={**self.digests, "train": digest},
        )


@dataclass(frozen=True)
class Availability:
    """Whether a data set could be loaded right now, and from where or why not."""

    ready: bool
    where: str


class DataSource(ABC):
    """A kind of data set. Loading is deterministic: the same files and `split_seed` give the same tensors.

    A source holds no state but its settings, and looks at the environment and the disk anew in each call.
    """

    name: str
    """How the command line names it."""

    @property
    @abstractmethod
    def images(self) -> int | None:
        """How many images it has in all, without loading them; None if that is unknown."""

    @property
    @abstractmethod
    def num_classes(self) -> int | None:
        """How many classes it has, without loading it; None if that is unknown."""

    @abstractmethod
    def availability(self) -> Availability:
        """Look, without loading or downloading. Never raises for data that is missing."""

    @abstractmethod
    def fetch(self, progress: Progress | None = None) -> Path | None:
        """Make the data available on this machine, by download if need be; the folder, or None if there is
        none.

        Raises DataError where that is impossible (no network, digest mismatch), naming the address and the
        other ways to get the data, and StorageError where the disk refuses. Neither leaves a partial file.
        """

    @abstractmethod
    def load(self, split_seed: int = 0) -> DataSet:
        """Read and split. Raises DataError with the way to get the data where it is missing or damaged."""
