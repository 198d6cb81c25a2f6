"""The exit code that answers "are there as many networks as wanted?"."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesynth.records import Network

__all__ = ["exit_code"]


def exit_code(networks: "Sequence[Network]", wanted: int) -> int:
    """0: as many as wanted meet everything. 4: perhaps, some could not be told. 1: no."""
    met = sum(network.satisfied for network in networks)
    undecided = sum(not n.satisfied and False not in n.requirements.values() for n in networks)
    if met >= wanted:
        return 0
    return 4 if met + undecided >= wanted else 1
