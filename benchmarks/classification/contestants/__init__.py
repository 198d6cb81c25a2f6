"""The contestants: each makes one small network of a prototype, not yet finished."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.classification.contestants.base import Compressed
    from benchmarks.classification.material import Material

__all__ = ["find_contestant"]

_MODULES = {
    "torch-pruning-taylor": ("torch_pruning", "taylor"),
    "torch-pruning-group-sl": ("torch_pruning", "group_sl"),
    "fastnas": ("fastnas", "fastnas"),
    "uniform-scratch": ("uniform", "scratch"),
    "uniform-distilled": ("uniform", "distilled"),
    "random": ("controls", "random_first"),
    "evolution": ("controls", "evolution"),
    "edgesynth-first": ("own", "edgesynth_first"),
    "edgesynth": ("own", "edgesynth"),
}


def find_contestant(name: str) -> "Callable[[Material, int], Compressed]":
    """The function that makes a contestant's network for a budget; imported on demand, as peers may be absent."""
    module, function = _MODULES[name]
    found: Callable[[Material, int], Compressed] = getattr(
        import_module(f"benchmarks.classification.contestants.{module}"), function
    )
    return found
