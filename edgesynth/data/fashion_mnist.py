"""Fashion-MNIST: 70,000 grey 28x28 images of ten kinds of clothing (Xiao et al. 2017, arXiv 1708.07747)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesynth.data.assemble import Labelled, assemble
from edgesynth.data.download import Remote, download
from edgesynth.data.idx import read_idx_gz
from edgesynth.data.places import download_folder, find_folder
from edgesynth.data.source import Availability, DataSet, DataSource, Progress
from edgesynth.errors import DataError

__all__ = ["FashionMnist", "IdxFile"]

ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True)
class IdxFile:
    """What is published: the .gz file's size and SHA-256, and the SHA-256 of what it decompresses to."""

    size: int
    sha256: str
    content_sha256: str


# Debian's package compresses the same bytes anew, so its .gz files have other digests than the published
# ones. A download is held against the published .gz, and every file that is read, whoever compressed it,
# against the content.
FILES: Mapping[str, IdxFile] = {
    "train-images-idx3-ubyte.gz": IdxFile(
        26421880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte.gz": IdxFile(
        29515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte.gz": IdxFile(
        4422102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte.gz": IdxFile(
        5148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


class FashionMnist(DataSource):
    """The official test split; validation is a tenth of the official training images.

    The files are looked for in $EDGESYNTH_DATA/fashion-mnist, $EDGESYNTH_DATA, the folder of Debian's package
    dataset-fashion-mnist, and the user's cache. `address`, `files` and `system` are other than the defaults
    in tests.
    """

    name = "fashion-mnist"
    images = 70_000
    num_classes = len(CLASSES)

    def __init__(
        self,
        address: str = ADDRESS,
        files: Mapping[str, IdxFile] = FILES,
        system: tuple[Path, ...] = (DEBIAN_FOLDER,),
    ) -> None:
        self._address = address
        self._files = files
        self._system = system

    def availability(self) -> Availability:
        folder = self._folder()
        if folder is not None:
            return Availability(True, str(folder))
        return Availability(False, f"edgesynth data fetch {self.name}  (31 MB; or: {self._other_ways()})")

    def fetch(self, progress: Progress | None = None) -> Path:
        folder = self._folder()
        if folder is not None:
            return folder
        folder = download_folder(self.name)
        for name, file in self._files.items():
            if not (folder / name).is_file():
                remote = Remote(self._address + name, file.sha256, file.size)
                try:
                    download(remote, folder / name, progress)
                except DataError as error:
                    raise DataError(f"cannot download {self.name}: {error}. Or {self._other_ways()}") from error
        return folder

    def load(self, split_seed: int = 0) -> DataSet:
        folder = self._folder()
        if folder is None:
            raise DataError(
                f"{self.name} is not on this machine: run edgesynth data fetch {self.name}, or {self._other_ways()}"
            )
        return assemble(
            self.name,
            CLASSES,
            self._read(folder, "train"),
            test=self._read(folder, "t10k"),
            split_seed=split_seed,
            mirror=True,
        )

    def _folder(self) -> Path | None:
        return find_folder(tuple(self._files), (self.name,), self._system)

    def _read(self, folder: Path, part: str) -> Labelled:
        arrays = []
        for name, dimensions in (f"{part}-images-idx3-ubyte.gz", 3), (f"{part}-labels-idx1-ubyte.gz", 1):
            array = read_idx_gz(folder / name, self._files[name].content_sha256)
            if array.ndim != dimensions:
                raise DataError(f"{folder / name} has {array.ndim} dimension(s), and {dimensions} are expected")
            arrays.append(array)
        images, labels = arrays
        return Labelled(images[:, None], labels.astype(np.int64))

    def _other_ways(self) -> str:
        return (
            "install Debian's package dataset-fashion-mnist, or put its four files from "
            f"{self._address} into $EDGESYNTH_DATA/{self.name}"
        )
