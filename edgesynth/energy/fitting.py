"""Fitting the free constants of a model on measured rows, each constant held by what was known of it before.

Latency: the maximum of the posterior of ln(estimate / measurement), normal around 0, over the logarithms of the
constants, normal around their priors. Each harness, the program that a row was measured through, has an overhead of its
own; all have one prior. Energy: likewise, of the relative error at the measured latency, linear in its constants.

A network is left out with all its rows: at other sizes, other numbers of classes, other precisions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from edgesynth.energy.constants import Clocks, Constants, Power
from edgesynth.energy.model import Load, energy_of, timing_of
from edgesynth.energy.rows import Row

__all__ = [
    "ENERGY_NAMES",
    "LATENCY_NAMES",
    "OVERHEAD",
    "SPREADS",
    "EnergyFit",
    "LatencyFit",
    "Prior",
    "blank_constants",
    "blank_power",
    "fit_energy",
    "fit_latency",
    "launch_bound",
]

Floats = NDArray[np.float64]

LATENCY_NAMES = ("launch_us", "pooling_us", "sum_us", "efficiency_fp32", "efficiency_fp16", "half_channels")
ENERGY_NAMES = ("active_power_w", "fp32_pj_per_mac")
OVERHEAD = "overhead_ms"
LAUNCH_BOUND_SHARE = 0.8  # bound by launches: they and the overhead fill this share of the time
SPREADS = (0.05, 0.15)
"""Standard deviations of ln(estimate / measurement) that rows are weighed by: bound by launches, bound by the GPU."""
ENERGY_SPREAD = 0.04
Z95 = 1.96


@dataclass(frozen=True)
class Prior:
    """What was known of a constant before: 95 % sure to be within `factor` of `value`."""

    value: float
    factor: float

    @property
    def deviation(self) -> float:
        """Of its logarithm."""
        return math.log(self.factor) / Z95


@dataclass(frozen=True)
class LatencyFit:
    """`constants` with the fitted ones in place, and the overhead of every harness; `covariance` is of the logarithms
    of LATENCY_NAMES and then of the overheads, in the order of `overheads`."""

    constants: Constants
    overheads: dict[str, float]
    covariance: Floats

    def estimates_ms(self, rows: Sequence[Row]) -> Floats:
        """(N,) latencies of rows whose harness was fitted, at their own clocks."""
        return _estimates(_Stack.of(rows), self.constants, [self.overheads[row.harness] for row in rows])


@dataclass(frozen=True)
class EnergyFit:
    """`power` with the fitted constants in place; `covariance` is of the logarithms of ENERGY_NAMES."""

    power: Power
    covariance: Floats


@dataclass(frozen=True)
class _Stack:
    load: Load
    clocks: Clocks

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_Stack":
        columns = np.array([(row.gpu_clock_mhz, row.memory_clock_mhz, row.cpu_clock_mhz) for row in rows]).T
        return cls(Load.stack([row.load for row in rows]), Clocks(*(column[:, None] for column in columns)))


def _estimates(stack: _Stack, constants: Constants, overheads: Sequence[float]) -> Floats:
    timing = timing_of(stack.load, replace(constants, overhead_ms=0.0), stack.clocks)
    slower: Floats = constants.cpu_clock_mhz / np.asarray(stack.clocks.cpu_mhz)[:, 0]
    return np.asarray(timing.latency_ms + slower * np.array(overheads))


def fit_latency(
    rows: Sequence[Row],
    base: Constants,
    priors: Mapping[str, Prior],
    harnesses: Sequence[str] = (),
    start: LatencyFit | None = None,
) -> LatencyFit:
    """Fits on `rows`. `harnesses` have an overhead even if no row was measured through them. Deterministic.

    A `start` on nearly the same rows, whose overheads are those of `harnesses`, saves time.
    """
    stack = _Stack.of(rows)
    known = list(dict.fromkeys([*harnesses, *(row.harness for row in rows)]))
    place = [len(LATENCY_NAMES) + known.index(row.harness) for row in rows]
    prior = [*(priors[name] for name in LATENCY_NAMES), *[priors[OVERHEAD]] * len(known)]
    centre, width = np.log([p.value for p in prior]), np.array([p.deviation for p in prior])
    measured = np.array([row.latency_ms for row in rows])

    def constants(logs: Floats) -> Constants:
        return replace(base, **dict(zip(LATENCY_NAMES, np.exp(logs[: len(LATENCY_NAMES)]).tolist(), strict=True)))

    def estimates(logs: Floats) -> Floats:
        return _estimates(stack, constants(logs), np.exp(logs)[place].tolist())

    bound = _launch_bound(stack, constants(centre), np.exp(centre)[place])
    spreads = np.where(bound, *SPREADS)

    def residuals(logs: Floats) -> Floats:
        return np.concatenate([np.log(estimates(logs) / measured) / spreads, (logs - centre) / width])

    logs, covariance = _least_squares(residuals, centre if start is None else _logs(start))
    overheads = dict(zip(known, np.exp(logs[len(LATENCY_NAMES) :]).tolist(), strict=True))
    return LatencyFit(constants(logs), overheads, covariance)


def launch_bound(rows: Sequence[Row], fitted: LatencyFit) -> NDArray[np.bool_]:
    """(N,) whether overhead and launches fill most of the time of each row."""
    return _launch_bound(_Stack.of(rows), fitted.constants, np.array([fitted.overheads[row.harness] for row in rows]))


def _launch_bound(stack: _Stack, constants: Constants, overheads: Floats) -> NDArray[np.bool_]:
    timing = timing_of(stack.load, replace(constants, overhead_ms=0.0), stack.clocks)
    share: Floats = (timing.launch_bound_ms + overheads) / (timing.latency_ms + overheads)
    return np.asarray(share >= LAUNCH_BOUND_SHARE)


def _logs(fitted: LatencyFit) -> Floats:
    values = [*(getattr(fitted.constants, name) for name in LATENCY_NAMES), *fitted.overheads.values()]
    return np.log(values)


def fit_energy(rows: Sequence[Row], base: Power, priors: Mapping[str, Prior]) -> EnergyFit:
    """Fits on the `rows` with joules, at their measured latencies."""
    metered = [row for row in rows if row.energy_mj is not None]
    prior = [priors[name] for name in ENERGY_NAMES]
    centre, width = np.log([p.value for p in prior]), np.array([p.deviation for p in prior])

    def power(logs: Floats) -> Power:
        return replace(base, **dict(zip(ENERGY_NAMES, np.exp(logs).tolist(), strict=True)))

    def residuals(logs: Floats) -> Floats:
        errors = [math.log(energy_of(row.load, power(logs), row.latency_ms).total_mj / _joules(row)) for row in metered]
        return np.concatenate([np.array(errors) / ENERGY_SPREAD, (logs - centre) / width])

    logs, covariance = _least_squares(residuals, centre)
    return EnergyFit(power(logs), covariance)


def _joules(row: Row) -> float:
    return math.nan if row.energy_mj is None else row.energy_mj


def _least_squares(residuals: Callable[[Floats], Floats], start: Floats) -> tuple[Floats, Floats]:
    """Levenberg-Marquardt with a central-difference Jacobian; the solution and its covariance (Laplace)."""
    x, damping = start.astype(np.float64), 1e-3
    r = residuals(x)
    normal = np.eye(len(x))
    for _ in range(100):
        steps = 1e-4 * np.eye(len(x))
        jacobian = np.stack([(residuals(x + step) - residuals(x - step)) / 2e-4 for step in steps], axis=1)
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -jacobian.T @ r)
        trial = residuals(x + step)
        if trial @ trial < r @ r:
            settled = np.abs(step).max() < 1e-6
            x, r, damping = x + step, trial, damping / 4
            if settled:
                break
        elif damping > 1e8:
            break
        else:
            damping *= 4
    return x, np.asarray(np.linalg.inv(normal), dtype=np.float64)


def blank_constants(published: Mapping[str, float]) -> Constants:
    """Constants with the published ones in place and all others 1."""
    return Constants(**{field.name: published.get(field.name, 1.0) for field in fields(Constants)})


def blank_power(published: Mapping[str, float]) -> Power:
    """Likewise for power."""
    return Power(**{field.name: published.get(field.name, 1.0) for field in fields(Power)})
