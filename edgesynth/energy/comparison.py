"""How accurate estimates are, and the plain fits that a model has to beat: each row is left out with its network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import spearmanr

from edgesynth.energy.rows import Row

__all__ = ["Accuracy", "accuracy_of", "count_ms", "macs_only_ms"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """Of the absolute relative errors |estimate / measurement - 1|; `spearman` None where it is not defined."""

    rows: int
    median: float
    worst: float
    spearman: float | None


def accuracy_of(estimates: Floats, measurements: Floats) -> Accuracy:
    """Estimates (N,) against measurements (N,), N at least 1."""
    errors = np.abs(estimates / measurements - 1)
    ranked = len(estimates) > 2 and np.ptp(estimates) > 0 and np.ptp(measurements) > 0
    rho = float(spearmanr(estimates, measurements).statistic) if ranked else None
    return Accuracy(len(errors), float(np.median(errors)), float(errors.max()), rho)


def macs_only_ms(rows: Sequence[Row]) -> Floats:
    """(N,) latencies by a line in the multiply-accumulates alone, one line for each precision."""
    return _left_out(rows, _macs)


def count_ms(rows: Sequence[Row]) -> Floats:
    """(N,) latencies by a time for each kind of kernel and one for each network, times the number of kernels."""
    kinds = sorted({kind for row in rows for kind in row.kinds})
    return _left_out(rows, lambda row: [1.0, *(float(row.kinds.get(kind, 0)) for kind in kinds)])


def _macs(row: Row) -> list[float]:
    fp16 = row.precision == "fp16"
    return [1.0 - fp16, float(fp16), row.macs * (1.0 - fp16), row.macs * float(fp16)]


def _left_out(rows: Sequence[Row], features: Callable[[Row], list[float]]) -> Floats:
    """Non-negative least squares of the relative error on all networks but the row's own; rows that are held out are
    fitted on for none."""
    matrix = np.array([features(row) for row in rows])
    measured = np.array([row.latency_ms for row in rows])
    scale = np.abs(matrix).max(axis=0).clip(1e-12)
    found = np.full(len(rows), np.nan)
    for network in dict.fromkeys(row.network for row in rows):
        own = np.array([row.network == network for row in rows])
        used = ~own & np.array([not row.held_out for row in rows])
        weights, _ = nnls(matrix[used] / scale / measured[used, None], np.ones(used.sum()))
        found[own] = matrix[own] / scale @ weights
    return found
