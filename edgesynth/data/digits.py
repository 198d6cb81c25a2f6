"""The digits of scikit-learn: 1,797 grey 8x8 images (Alpaydin and Kaynak 1998, UCI ML Repository)."""

import importlib.util

import numpy as np

from edgesynth.data.assemble import Labelled, assemble
from edgesynth.data.source import Availability, DataSet, DataSource, Progress

__all__ = ["Digits"]


class Digits(DataSource):
    """No official split: a sixth each for test and validation. Needs no network, so it is what demos and
    tests use.

    The 17 grey levels of the source are spread over 8 bits.
    """

    name = "digits"
    images = 1797
    num_classes = 10

    def availability(self) -> Availability:
        if importlib.util.find_spec("sklearn") is None:
            return Availability(False, "pip install scikit-learn")
        return Availability(True, "in scikit-learn")

    def fetch(self, progress: Progress | None = None) -> None:
        """Nothing to do: the images are a part of scikit-learn, on which edgesynth depends."""

    def load(self, split_seed: int = 0) -> DataSet:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        return assemble(
            self.name,
            tuple(str(name) for name in bunch.target_names),
            Labelled(images[:, None], bunch.target.astype(np.int64)),
            split_seed=split_seed,
            mirror=False,
        )
