"""The user's own images: a folder of one folder of images a class."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgesynth.data.assemble import Labelled, assemble
from edgesynth.data.source import Availability, DataSet, DataSource, Progress
from edgesynth.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageFolder"]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SPLITS = ("train", "val", "test")
GREY_MODES = frozenset({"1", "L", "LA"})
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L"})
ORIENTATION_TAG = 0x0112
SIDEWAYS = frozenset({5, 6, 7, 8})
MOST_BYTES = 4 << 30
"""Most memory that the float32 images may take."""
_ADDRESS = re.compile(r"(?P<path>.+)@(?P<height>[1-9]\d{0,3})(?:x(?P<width>[1-9]\d{0,3}))?")


@dataclass(frozen=True)
class _Listing:
    """Which files belong to which split and class. `files[split]` are pairs of a path and a class index."""

    classes: tuple[str, ...]
    files: dict[str, list[tuple[Path, int]]]


class ImageFolder(DataSource):
    """A folder like root/<class>/*.png, or root/{train,val,test}/<class>/*.png with `val` and `test`
    optional.

    Classes and images come in the order of their names. A split that has no folder is cut from `train`.
    Hidden files and files with other suffixes than those of images are passed over, and so are folders inside
    a class.

    All images must have one size, unless the address ends in @SIZE or @HEIGHTxWIDTH ("photos@64"): then each
    is scaled to cover that size and cropped at its centre. Orientation tags are obeyed. The data set is grey
    if every file is, else RGB; transparency is dropped, and more than 8 bits a channel are refused. Images
    are never mirrored in training, because only the user knows whether a mirrored image keeps its class.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None = None) -> None:
        """`size` is (H, W)."""
        self._path = path
        self._size = size
        self.name = str(path) if size is None else f"{path}@{size[0]}x{size[1]}"

    @classmethod
    def from_address(cls, address: str) -> ImageFolder | None:
        """The source for PATH or PATH@SIZE, or None if there is no such folder."""
        if address and Path(address).is_dir():
            return cls(Path(address))
        match = _ADDRESS.fullmatch(address)
        if match is None or not Path(match["path"]).is_dir():
            return None
        height = int(match["height"])
        return cls(Path(match["path"]), (height, int(match["width"] or height)))

    @property
    def images(self) -> int | None:
        try:
            return sum(len(files) for files in self._list().files.values())
        except DataError:
            return None

    @property
    def num_classes(self) -> int | None:
        try:
            return len(self._list().classes)
        except DataError:
            return None

    def availability(self) -> Availability:
        try:
            self._list()
        except DataError as error:
            return Availability(False, str(error))
        return Availability(True, str(self._path))

    def fetch(self, progress: Progress | None = None) -> Path:
        """Nothing to download. Raises DataError if the folder is not laid out as it should be."""
        self._list()
        return self._path

    def load(self, split_seed: int = 0) -> DataSet:
        listing = self._list()
        every = [path for files in listing.files.values() for path, _ in files]
        size, channels = self._common_shape(every)
        if (need := len(every) * channels * size[0] * size[1] * 4) > MOST_BYTES:
            raise DataError(
                f"{self._path}: {len(every)} images of {size[0]}x{size[1]} take {need / 2**30:.1f} GiB, "
                f"and at most {MOST_BYTES >> 30} GiB are allowed: name a smaller size, as in {self._path}@64"
            )
        parts = {split: self._read(files, channels, size) for split, files in listing.files.items()}
        return assemble(
            self.name,
            listing.classes,
            parts["train"],
            val=parts.get("val"),
            test=parts.get("test"),
            split_seed=split_seed,
            mirror=False,
        )

    def _list(self) -> _Listing:
        top = _folders(self._path)
        names = [folder.name for folder in top]
        if "train" not in names or not set(names) <= set(SPLITS):
            classes = tuple(names)
            return _Listing(classes, {"train": _images(self._path, classes)})
        classes = tuple(folder.name for folder in _folders(self._path / "train"))
        files = {}
        for split in SPLITS:
            if split in names:
                folder = self._path / split
                if strange := {each.name for each in _folders(folder)} - set(classes):
                    raise DataError(f"{folder} has a class {min(strange)!r} that {self._path / 'train'} has not")
                files[split] = _images(folder, classes)
        return _Listing(classes, files)

    def _common_shape(self, paths: list[Path]) -> tuple[tuple[int, int], int]:
        """((H, W), channels) of all images, from their headers."""
        size, first, channels = self._size, paths[0], 1
        for path in paths:
            with _opened(path) as image:
                if image.mode in DEEP_MODES:
                    raise DataError(f"{path} has more than 8 bits a channel ({image.mode}): convert it to 8 bits")
                if image.mode not in GREY_MODES:
                    channels = 3
                if self._size is None:
                    height, width = _upright_size(image)
                    if size is None:
                        size = height, width
                    elif size != (height, width):
                        raise DataError(
                            f"{first} is {size[0]}x{size[1]} (height x width), but {path} is {height}x{width}: "
                            "all images must have one size, or name one to scale them to, "
                            f"as in {self._path}@64"
                        )
        return size or (1, 1), channels

    def _read(self, files: list[tuple[Path, int]], channels: int, size: tuple[int, int]) -> Labelled:
        from PIL import Image, ImageOps

        images: NDArray[np.uint8] = np.empty((len(files), channels, *size), dtype=np.uint8)
        for index, (path, _) in enumerate(files):
            with _opened(path) as image:
                pixels = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
                if self._size is not None:
                    pixels = ImageOps.fit(pixels, (size[1], size[0]), Image.Resampling.BILINEAR)
                images[index] = np.asarray(pixels).reshape(*size, channels).transpose(2, 0, 1)
        return Labelled(images, np.array([label for _, label in files], dtype=np.int64))


def _folders(path: Path) -> list[Path]:
    """The folders in `path` by name, without the hidden ones. Raises DataError if there are none."""
    try:
        found = sorted(
            (each for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")),
            key=lambda each: each.name,
        )
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not found:
        raise DataError(f"{path} has no folders in it: put the images of each class into a folder of its name")
    return found


def _images(path: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """The images below `path`, class by class. No folder of a class is fine, an empty one is an error."""
    found = []
    for label, name in enumerate(classes):
        try:
            files = sorted((path / name).iterdir(), key=lambda each: each.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"{path / name} cannot be read: {error.strerror or error}") from error
        images = [each for each in files if not each.name.startswith(".") and each.suffix.lower() in SUFFIXES]
        if not images:
            raise DataError(f"{path / name} has no images in it (looked for {', '.join(sorted(SUFFIXES))})")
        found += [(each, label) for each in images]
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose decoding errors, in the whole block, become DataError naming the file."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    # Pillow's decoders raise any of these for bytes that make no sense to them.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large: {error}") from error


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """(H, W) after the orientation tag is obeyed; reads the header alone."""
    width, height = image.size
    return (width, height) if image.getexif().get(ORIENTATION_TAG) in SIDEWAYS else (height, width)
