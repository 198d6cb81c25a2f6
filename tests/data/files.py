"""Writers of the file formats that the data sources read, small enough for tests."""

import gzip
import hashlib
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesynth.data import cifar10, fashion_mnist
from edgesynth.data.download import Remote


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">2xBB{array.ndim}I", 0x08, array.ndim, *array.shape) + array.tobytes()


def remote(path: Path) -> Remote:
    """A file of this machine as a download."""
    data = path.read_bytes()
    return Remote(path.as_uri(), hashlib.sha256(data).hexdigest(), len(data))


def write_fashion_mnist(folder: Path, train: int = 200, test: int = 50) -> Mapping[str, fashion_mnist.IdxFile]:
    """The four files of Fashion-MNIST with random pixels, and what is published about them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    files = {}
    for part, count in ("train", train), ("t10k", test):
        for name, array in {
            f"{part}-images-idx3-ubyte.gz": rng.integers(0, 256, (count, 28, 28), dtype=np.uint8),
            f"{part}-labels-idx1-ubyte.gz": np.arange(count).astype(np.uint8) % 10,
        }.items():
            content = idx_bytes(array)
            data = gzip.compress(content)
            (folder / name).write_bytes(data)
            digests = (hashlib.sha256(each).hexdigest() for each in (data, content))
            files[name] = fashion_mnist.IdxFile(len(data), *digests)
    return files


def write_cifar10(folder: Path, records: int = 40) -> None:
    """The seven files of CIFAR-10's binary version with random pixels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in (*cifar10.TRAIN_FILES, cifar10.TEST_FILE):
        table = rng.integers(0, 256, (records, cifar10.RECORD), dtype=np.uint8)
        table[:, 0] = np.arange(records) % 10
        (folder / name).write_bytes(table.tobytes())
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    (folder / cifar10.NAMES_FILE).write_text(names.replace(" ", "\n") + "\n\n")


def pack_cifar10(folder: Path, archive: Path) -> Path:
    """The archive that CIFAR-10 is published as."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=cifar10.FOLDER)
    return archive
