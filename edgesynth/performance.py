"""Universal performance U: one figure of merit for a network."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["LEAST_METRIC", "PERFORMANCES", "netscore", "netscore_terms", "performance", "performance_terms"]

LEAST_METRIC = 0.01
"""Records hold U of at least this metric: a network that is never right would have one of -inf."""

PERFORMANCES = ("netscore", "metric")
"""What U may be: NetScore, or the task's metric alone, in percent, where sizes are left to the requirements."""

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


def performance(name: str, metric: float, params: float, macs: float) -> float:
    """U of a network by the name of the function, never -inf: a metric of 0 counts as LEAST_METRIC.

    Raises ValueError for a name that is not among PERFORMANCES.
    """
    return float(performance_terms(name, max(metric, LEAST_METRIC), params, macs, math.log10))


def performance_terms(
    name: str, metric: Number, params: Number, macs: Number, log10: Callable[[Number], Number]
) -> Number:
    """The same over anything that has a base-10 logarithm and arithmetic; `metric` is a share above 0."""
    if name == "netscore":
        score: Number = netscore_terms(100 * metric, params / 1e6, macs / 1e9, log10)
        return score
    if name == "metric":
        return metric * 100
    raise ValueError(f"unknown performance {name!r}, known are {', '.join(PERFORMANCES)}")
