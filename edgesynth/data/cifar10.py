"""CIFAR-10: 60,000 colour 32x32 images of ten kinds of things (Krizhevsky 2009, Learning Multiple Layers of
Features from Tiny Images).

Read from the binary version, https://www.cs.toronto.edu/~kriz/cifar.html, so nothing is unpickled: each file
is a row of records of one byte of label, then 1,024 bytes of red, of green and of blue.
"""

import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np

from edgesynth.data.assemble import Labelled, assemble
from edgesynth.data.download import Remote, download, file_at
from edgesynth.data.places import download_folder, find_folder
from edgesynth.data.source import Availability, DataSet, DataSource, Progress
from edgesynth.errors import DataError, StorageError

__all__ = ["Cifar10"]

# The page publishes the MD5 c32a1d4ab5d03f1284b67883e8d87530; this SHA-256 is of the same file.
ARCHIVE = Remote(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
)
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
NAMES_FILE = "batches.meta.txt"
FILES = (NAMES_FILE, *TRAIN_FILES, TEST_FILE)
CLASSES = 10
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32


class Cifar10(DataSource):
    """The official test split; validation is a tenth of the official training images.

    The seven files of the archive are looked for in $EDGESYNTH_DATA/cifar-10-batches-bin, $EDGESYNTH_DATA,
    and the user's cache. `archive` and `records`, images a file, are other than the defaults in tests.
    """

    name = "cifar10"
    images = 60_000
    num_classes = CLASSES

    def __init__(self, archive: Remote = ARCHIVE, records: int = 10_000) -> None:
        self._archive = archive
        self._records = records

    def availability(self) -> Availability:
        folder = self._folder()
        if folder is not None:
            return Availability(True, str(folder))
        return Availability(False, f"edgesynth data fetch {self.name}  (170 MB; or: {self._other_way()})")

    def fetch(self, progress: Progress | None = None) -> Path:
        folder = self._folder()
        if folder is not None:
            return folder
        folder = download_folder(FOLDER)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = tempfile.TemporaryDirectory(prefix=f"{FOLDER}.", suffix=".partial", dir=folder.parent)
        except OSError as error:
            raise StorageError(f"cannot write to {folder.parent}: {error.strerror or error}") from error
        with scratch as temporary:
            archive = Path(temporary) / "cifar-10-binary.tar.gz"
            try:
                download(self._archive, archive, progress)
            except DataError as error:
                raise DataError(f"cannot download {self.name}: {error}. Or {self._other_way()}") from error
            self._unpack(archive, folder)
        return folder

    def load(self, split_seed: int = 0) -> DataSet:
        folder = self._folder()
        if folder is None:
            raise DataError(
                f"{self.name} is not on this machine: run edgesynth data fetch {self.name}, or {self._other_way()}"
            )
        parts = [self._read(folder / name) for name in TRAIN_FILES]
        train = Labelled(
            np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])
        )
        return assemble(
            self.name,
            _class_names(folder / NAMES_FILE),
            train,
            test=self._read(folder / TEST_FILE),
            split_seed=split_seed,
            mirror=True,
        )

    def _folder(self) -> Path | None:
        return find_folder(FILES, (FOLDER,))

    def _unpack(self, archive: Path, folder: Path) -> None:
        """Write the seven known files, and nothing else that the archive may hold, under names of our own.

        So paths, links and devices in the archive have no effect.
        """
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for name in FILES:
                    member = tar.getmember(f"{FOLDER}/{name}")
                    source = tar.extractfile(member) if member.isreg() else None
                    if source is None:
                        raise DataError(f"{self._archive.url} has {member.name}, but it is no plain file")
                    if member.size > self._records * RECORD:
                        raise DataError(f"{self._archive.url} has {member.name} with {member.size} bytes, too many")
                    data = source.read()
                    with file_at(folder / name) as file:
                        file.write(data)
        except KeyError as error:
            raise DataError(f"{self._archive.url} is not the expected archive: {error.args[0]}") from error
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise DataError(f"{self._archive.url} cannot be unpacked: {error}") from error

    def _read(self, path: Path) -> Labelled:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        if len(data) != self._records * RECORD:
            raise DataError(
                f"{path} has {len(data)} bytes, but {self._records} images take {self._records * RECORD}: "
                f"it is damaged; delete it and run edgesynth data fetch {self.name}"
            )
        records = np.frombuffer(data, dtype=np.uint8).reshape(self._records, RECORD)
        labels = records[:, 0].astype(np.int64)
        if labels.max() >= CLASSES:
            raise DataError(f"{path} has a label {labels.max()}, but {CLASSES} classes: it is damaged")
        return Labelled(records[:, 1:].reshape(-1, *SHAPE), labels)

    def _other_way(self) -> str:
        return f"unpack {self._archive.url} into $EDGESYNTH_DATA"


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(path.read_text(encoding="ascii").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if len(names) != CLASSES:
        raise DataError(f"{path} has {len(names)} class names, and {CLASSES} are expected: it is damaged")
    return names
