"""What all executors promise, and what they share."""

import pickle
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch

__all__ = ["RETRIES", "Executor", "Failure", "attempt", "computing_with", "named"]

RETRIES = 3
"""How often an item is done again because the process that worked on it died."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Executor(ABC):
    """Maps a function over items. A context manager, to be entered once; `map` only inside its `with` block, one map
    at a time. Leaving the block, by Ctrl-C too, leaves no process behind.

    For the same function, items and `threads` the outcomes are those of `InProcess`, bit for bit, as long as the
    function is deterministic and the machines have the same kind of processor and the same versions of libraries.
    Function, items and outcomes must be picklable where `place` is not "process".
    """

    threads: int
    """Threads that torch computes an item with. Sums in another number of threads are rounded otherwise, so this
    belongs to a run; a fresh run takes what suits the executor."""
    place: ClassVar[Literal["process", "machine", "cluster"]]
    """Where items are worked on: "process", one after the other in this process, nothing while the caller has the
    word; "machine", other processes that see the same files; "cluster", anywhere."""

    @abstractmethod
    def map(self, function: Callable[[Item], Outcome], items: Iterable[Item]) -> Iterator[Outcome]:
        """Apply the function to each item. Nothing is done before the first outcome is asked for.

        Outcomes come in the order of the items, each as soon as it and all before it are known, so that the caller
        can record them one by one. An exception in the function reaches the caller in the place of its outcome. An
        item is taken from `items` when it is handed out. Raises ToolError that names the item when the process that
        works on it has died once and RETRIES times more.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027  # not every executor holds something
        """Give back what is held."""


@dataclass(frozen=True)
class Failure:
    """The exception that took the place of an outcome, on its way to the caller."""

    error: Exception


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Within the block, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def attempt(function: Callable[[Any], Any], item: object, threads: int) -> bytes:
    """What another process does with one item: the pickled outcome, or a pickled Failure."""
    try:
        with computing_with(threads):
            return pickle.dumps(function(item))
    except Exception as error:
        error.add_note(traceback.format_exc())  # the caller's traceback ends where the processes part
        return pickle.dumps(Failure(_portable(error)))


def named(item: object) -> str:
    """An item in a message."""
    text = str(item)
    return text if len(text) <= 60 else text[:57] + "…"


def _portable(error: Exception) -> Exception:
    """The same exception if it survives pickling; not all do."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
