"""The plain executor."""

from collections.abc import Callable, Iterable, Iterator

import torch

from edgesynth.synthesis.executors.base import Executor, Item, Outcome, computing_with

__all__ = ["InProcess"]


class InProcess(Executor):
    """One after the other, in this process, with all of torch's threads unless told otherwise."""

    place = "process"

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or torch.get_num_threads()

    def map(self, function: Callable[[Item], Outcome], items: Iterable[Item]) -> Iterator[Outcome]:
        for item in items:
            with computing_with(self.threads):
                outcome = function(item)
            yield outcome
