"""Universal performance U: one figure of merit for a network."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["LEAST_METRIC", "netscore", "netscore_terms"]

LEAST_METRIC = 0.01
"""Records hold U of at least this metric: a network that is never right would have one of -inf."""

Number = TypeVar("Number", float, Any)


def netscore(accuracy: float, params: float, macs: float) -> float:
    """NetScore Ω = 20·log10(a² / (√p · √m)), arXiv 1806.05512 with α = 2, β = γ = 0.5.

    `accuracy` is a share in (0, 1] (the paper's percent is made here), `params` and `macs` are plain counts
    (the paper's millions and billions are made here). An accuracy of 0 scores -inf.
    """
    if accuracy <= 0:
        return -math.inf
    return float(netscore_terms(100 * accuracy, params / 1e6, macs / 1e9, math.log10))


def netscore_terms(percent: Number, millions: Number, billions: Number, log10: Callable[[Number], Number]) -> Number:
    """The same formula over anything that has a base-10 logarithm and arithmetic, so that it has gradients too."""
    return 40 * log10(percent) - 10 * log10(millions) - 10 * log10(billions)
