"""What a run tells while it works. The core calls these methods; the command line decides how they look."""

from typing import Literal

from edgesynth.records import Cycle, Network

__all__ = ["Progress", "Work"]

Work = Literal["prototype", "shared", "learning", "pilot", "choosing", "finishing"]
"""What a run spends its time on: its prototype, shared weights, the cycles of learning, the network that is finished in
the midst of them, scoring what the learned generator makes, and finishing it."""


class Progress:
    """Hears of everything that happens in a run, and by itself says nothing. Subclasses override what they show."""

    def stage(self, title: str) -> None:
        """A stage of the run begins."""

    def work(self, on: Work) -> None:
        """From now on, time is spent on this."""

    def note(self, text: str) -> None:
        """Something worth a line: a choice made, work found done already."""

    def epoch(self, what: str, done: int, total: int, loss: float) -> None:
        """An epoch of training `what` is done."""

    def scored(self, done: int, total: int) -> None:
        """A candidate of the current cycle is scored."""

    def cycle(self, cycle: Cycle, total: int) -> None:
        """A cycle of learning is done."""

    def network(self, network: Network, satisfied: int, wanted: int) -> None:
        """A FermiNet is finished, exported and measured."""
