"""Which data sets the command line knows, and what --data may say."""

from edgesynth.data.cifar10 import Cifar10
from edgesynth.data.digits import Digits
from edgesynth.data.fashion_mnist import FashionMnist
from edgesynth.data.folder import ImageFolder
from edgesynth.data.source import DataSource
from edgesynth.errors import DataError

__all__ = ["find_source", "sources"]


def sources() -> tuple[DataSource, ...]:
    """The data sets with a name, by name."""
    return Cifar10(), Digits(), FashionMnist()


def find_source(name_or_path: str) -> DataSource:
    """The source for a name, or for a folder of images as PATH or PATH@SIZE (see `ImageFolder`).

    A name comes before a folder of that name, which is ./NAME.

    Raises DataError, listing what is known, for anything else.
    """
    for source in sources():
        if source.name == name_or_path:
            return source
    folder = ImageFolder.from_address(name_or_path)
    if folder is not None:
        return folder
    known = ", ".join(source.name for source in sources())
    raise DataError(
        f"there is no data set {name_or_path!r}: it may be {known}, or the path of a folder "
        "with a folder of images for each class"
    )
