"""Who carries out independent pieces of work: scoring candidates, finishing networks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["Executor", "InProcess"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Executor(ABC):
    """Maps a function over items. Outcomes come in the order of the items, each as soon as it and all before it are
    known, so that the caller can record them one by one. An exception in the function reaches the caller."""

    @abstractmethod
    def map(self, function: Callable[[Item], Outcome], items: Iterable[Item]) -> Iterator[Outcome]:
        """Lazily apply the function to each item."""


class InProcess(Executor):
    """One after the other, in this process."""

    def map(self, function: Callable[[Item], Outcome], items: Iterable[Item]) -> Iterator[Outcome]:
        return map(function, items)
