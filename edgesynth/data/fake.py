"""A data source made of nothing, for tests and for trying things out: small, quick, learnable."""

import numpy as np

from edgesynth.data.assemble import Labelled, assemble
from edgesynth.data.source import Availability, DataSet, DataSource, Progress

__all__ = ["FakeSource"]


class FakeSource(DataSource):
    """`images` of `shape` (C, H, W) in `num_classes` classes: noise, and a bright band of rows.

    Where the band is tells the class, so a linear classifier learns it. There is no official split.
    """

    name = "fake"

    def __init__(
        self, images: int = 240, num_classes: int = 4, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0
    ) -> None:
        self._images = images
        self._num_classes = num_classes
        self._shape = shape
        self._seed = seed

    @property
    def images(self) -> int:
        return self._images

    @property
    def num_classes(self) -> int:
        return self._num_classes

    def availability(self) -> Availability:
        return Availability(True, "made on the fly")

    def fetch(self, progress: Progress | None = None) -> None:
        """Nothing to do."""

    def load(self, split_seed: int = 0) -> DataSet:
        rng = np.random.Generator(np.random.PCG64(self._seed))
        labels = np.arange(self._images, dtype=np.int64) % self._num_classes
        images = rng.integers(0, 120, size=(self._images, *self._shape), dtype=np.uint8)
        height = self._shape[1]
        band_of_row = np.arange(height) * self._num_classes // height
        for image, label in zip(images, labels, strict=True):
            image[:, band_of_row == label] += 120
        return assemble(
            self.name,
            tuple(f"band {index}" for index in range(self._num_classes)),
            Labelled(images, labels),
            split_seed=split_seed,
            mirror=True,
        )
