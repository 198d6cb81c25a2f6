"""Data sources: labelled images, split the same way on every machine. Importing this leaves torch alone."""

from edgesynth.data.fake import FakeSource
from edgesynth.data.folder import ImageFolder
from edgesynth.data.registry import find_source, sources
from edgesynth.data.source import Availability, DataSet, DataSource, Progress, Split

__all__ = [
    "Availability",
    "DataSet",
    "DataSource",
    "FakeSource",
    "ImageFolder",
    "Progress",
    "Split",
    "find_source",
    "sources",
]
