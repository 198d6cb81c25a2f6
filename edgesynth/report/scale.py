"""Axes: from data to pixels, and where the ticks go. Pure arithmetic."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Linear", "Log", "Scale", "linear_scale", "log_scale"]

_SMALLEST, _LARGEST = 1e-100, 1e100  # what lies outside is no figure of a network, and would overflow


@dataclass(frozen=True)
class Linear:
    """Maps [low, high] onto [start, end] in proportion; start > end turns the axis round."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixels of a value; values outside the domain fall outside the range, in proportion."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the domain, 1, 2 or 5 times a power of ten apart, roughly `about` of them."""
        step = _nice_step((self.high - self.low) / max(about, 1))
        digits = max(0, -math.floor(math.log10(step)))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, digits) + 0.0 for index in range(first, last + 1)]


@dataclass(frozen=True)
class Log:
    """Maps [low, high], both > 0, onto [start, end] by the logarithm: equal ratios are equal lengths."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixels of a value > 0."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Decades, filled up with their 2 and 5 or thinned out, or round values where a decade is not covered."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        chosen: list[float] = []
        for steps in ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 8)):
            chosen = [step * 10.0**decade for decade in decades for step in steps]
            chosen = [tick for tick in chosen if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]
            if len(chosen) >= max(about - 1, 2):
                break
        if len(chosen) < 2:
            return [tick for tick in Linear(self.low, self.high, 0, 1).ticks(about) if tick > 0]
        return chosen[:: math.ceil(len(chosen) / (about + 2))]


Scale = Linear | Log


def linear_scale(values: Iterable[float], start: float, end: float, pad: float = 0.08) -> Linear:
    """A linear axis that holds the values with some air on both sides. Without values it runs from 0 to 1."""
    low, high = _extent((value if abs(value) > _SMALLEST else 0.0 for value in values), (0.0, 1.0))
    air = (high - low) * pad
    if high - low <= 1e-9 * abs(high):
        air = abs(high) * pad or 1.0
    return Linear(low - air, high + air, start, end)


def log_scale(values: Iterable[float], start: float, end: float, pad: float = 0.08) -> Log:
    """A logarithmic axis that holds the values > 0 with some air. Without values it runs from 1 to 10."""
    low, high = _extent((value for value in values if value > _SMALLEST), (1.0, 10.0))
    air = max((high / low) ** pad, 1.2)
    return Log(low / air, high * air, start, end)


def _extent(values: Iterable[float], without: tuple[float, float]) -> tuple[float, float]:
    finite = [value for value in values if abs(value) < _LARGEST]
    return (min(finite), max(finite)) if finite else without


def _nice_step(rough: float) -> float:
    """The nearest of 1, 2, 5, 10 times a power of ten, by ratio."""
    power = 10.0 ** math.floor(math.log10(rough))
    share = rough / power
    return power * (1 if share < math.sqrt(2) else 2 if share < math.sqrt(10) else 5 if share < math.sqrt(50) else 10)
