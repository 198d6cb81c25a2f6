"""The statistics of a measurement: pure functions over lists of numbers."""

import math
from typing import Optional, Sequence, Tuple

__all__ = ["mean", "median", "quantile", "t_interval95"]

# Two-sided 95 % quantiles of Student's t, i.e. t(0.975, degrees of freedom): NIST/SEMATECH e-Handbook of Statistical
# Methods, table 1.3.6.7.2. Between rows the smaller row holds, which makes the interval a little wider, never narrower.
_T_ROWS = (
    (1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (6, 2.447), (7, 2.365), (8, 2.306), (9, 2.262),
    (10, 2.228), (11, 2.201), (12, 2.179), (13, 2.160), (14, 2.145), (15, 2.131), (16, 2.120), (17, 2.110),
    (18, 2.101), (19, 2.093), (20, 2.086), (21, 2.080), (22, 2.074), (23, 2.069), (24, 2.064), (25, 2.060),
    (26, 2.056), (27, 2.052), (28, 2.048), (29, 2.045), (30, 2.042), (40, 2.021), (60, 2.000), (100, 1.984),
)  # fmt: skip


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean. Raises ZeroDivisionError for no values."""
    return math.fsum(values) / len(values)


def median(values: Sequence[float]) -> float:
    """The value in the middle, or the mean of the two. Raises IndexError for no values."""
    return quantile(sorted(values), 0.5)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the ascending values lie, linear between neighbours."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def t_interval95(values: Sequence[float]) -> Optional[Tuple[float, float]]:
    """95 % confidence interval of the mean of independent values; None for fewer than two of them."""
    if len(values) < 2:
        return None
    center = mean(values)
    freedom = len(values) - 1
    variance = math.fsum((value - center) ** 2 for value in values) / freedom
    t = [quantile_ for row, quantile_ in _T_ROWS if row <= freedom][-1]
    half = t * math.sqrt(variance / len(values))
    return center - half, center + half
