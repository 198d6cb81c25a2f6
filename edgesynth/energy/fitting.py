"""Fitting the free constants of the TX2 model on the published rows.

Latency: least squares of ln(estimate / measurement) over overhead, launch time, both efficiencies and the half
channels. Energy: least squares of the relative error over active power and energy per multiply-accumulate, at the
measured latency. The rows with joules come from two networks only, so there one row is left out at a time, and
that error is kinder than a new network's would be.
"""

import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from edgesynth.energy.constants import Constants
from edgesynth.energy.model import energy_of, timing_of
from edgesynth.energy.rows import Row

__all__ = ["ENERGY_NAMES", "LATENCY_START", "Fit", "estimated_ms", "fit", "published_constants", "rounded"]

Floats = NDArray[np.float64]

LATENCY_START = {
    "overhead_ms": 2.0,
    "launch_us": 25.0,
    "efficiency_fp32": 0.5,
    "efficiency_fp16": 0.5,
    "half_channels": 32.0,
}
ENERGY_NAMES = ("active_power_w", "fp32_pj_per_mac")
DIGITS = 4  # significant digits of every number that is written


@dataclass(frozen=True)
class Fit:
    """The constants fitted on all rows, those fitted without each network or row, and the rows' errors.

    Errors are ln(estimate / measurement). `left_out` are those of rows that the fit had not seen. Energies in
    `energy_errors` are estimated at the estimated latency, those in `energy_left_out` at the measured one.
    """

    rows: list[Row]
    constants: Constants
    latency_refits: list[Constants]
    energy_refits: list[Constants]
    errors: list[float]
    left_out: list[float]
    energy_errors: list[float | None]
    energy_left_out: list[float | None]
    harness_ms: float


def fit(rows: Sequence[Row], published: dict[str, float]) -> Fit:
    """Fits on the rows that are not held out. Deterministic."""
    used = [row for row in rows if not row.held_out]
    joules = [row for row in used if row.energy_mj is not None]
    blank = Constants(**dict.fromkeys((field.name for field in fields(Constants)), 1.0) | published)
    timed = _fit_latency(used, replace(blank, **LATENCY_START))
    constants = _fit_energy(joules, timed)
    networks = list(dict.fromkeys(row.network for row in used))
    refits = [_fit_latency([row for row in used if row.network != name], constants) for name in networks]
    unseen = dict(zip(networks, refits, strict=True))
    energy_refits = [_fit_energy([row for row in joules if row is not left], constants) for left in joules]
    energy_unseen = {id(row): refit for row, refit in zip(joules, energy_refits, strict=True)}
    return Fit(
        rows=list(rows),
        constants=constants,
        latency_refits=refits,
        energy_refits=energy_refits,
        errors=[_latency_error(row, constants) for row in rows],
        left_out=[_latency_error(row, unseen.get(row.network, constants)) for row in rows],
        energy_errors=[_energy_error(row, constants, estimated_ms(row, constants)) for row in rows],
        energy_left_out=[_energy_error(row, energy_unseen.get(id(row), constants), row.latency_ms) for row in rows],
        harness_ms=_harness_ms(used, constants),
    )


def _fit_latency(rows: Sequence[Row], start: Constants) -> Constants:
    names = list(LATENCY_START)

    def residuals(logs: Floats) -> Floats:
        trial = replace(start, **dict(zip(names, np.exp(logs).tolist(), strict=True)))
        return np.array([_latency_error(row, trial) for row in rows])

    logs = _least_squares(residuals, np.log([getattr(start, name) for name in names]))
    return replace(start, **dict(zip(names, map(rounded, np.exp(logs).tolist()), strict=True)))


def _fit_energy(rows: Sequence[Row], constants: Constants) -> Constants:
    """Linear: what is left of the measured energy after idling and memory traffic, by time and by arithmetic."""
    known = replace(constants, active_power_w=0.0, fp32_pj_per_mac=0.0)
    unit = replace(constants, idle_power_w=0.0, memory_pj_per_byte=0.0, active_power_w=1.0, fp32_pj_per_mac=1.0)
    left, columns = [], []
    for row in rows:
        measured_mj = row.energy_mj or math.nan
        per_unit = energy_of(row.load, unit, row.latency_ms)
        left.append(1 - energy_of(row.load, known, row.latency_ms).total_mj / measured_mj)
        columns.append([per_unit.active_mj / measured_mj, per_unit.arithmetic_mj / measured_mj])
    solution = np.linalg.lstsq(np.array(columns), np.array(left), rcond=None)[0]
    return replace(constants, **dict(zip(ENERGY_NAMES, map(rounded, solution.tolist()), strict=True)))


def _harness_ms(rows: Sequence[Row], constants: Constants) -> float:
    """By how much the overhead falls when it is fitted on the rows without a Python harness, all else kept."""
    native = [row for row in rows if not row.python_harness]

    def residuals(logs: Floats) -> Floats:
        trial = replace(constants, overhead_ms=float(np.exp(logs[0])))
        return np.array([_latency_error(row, trial) for row in native])

    overhead_ms = float(np.exp(_least_squares(residuals, np.log([constants.overhead_ms]))[0]))
    return rounded(max(0.0, constants.overhead_ms - overhead_ms))


def _least_squares(residuals: Callable[[Floats], Floats], start: Floats) -> Floats:
    """Levenberg-Marquardt with a central-difference Jacobian."""
    x, damping = start.astype(np.float64), 1e-3
    r = residuals(x)
    for _ in range(200):
        steps = 1e-4 * np.eye(len(x))
        jacobian = np.stack([(residuals(x + step) - residuals(x - step)) / 2e-4 for step in steps], axis=1)
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), -jacobian.T @ r)
        trial = residuals(x + step)
        if trial @ trial < r @ r:
            small = np.abs(step).max() < 1e-7
            x, r, damping = x + step, trial, damping / 4
            if small:
                break
        elif damping > 1e8:
            break
        else:
            damping *= 4
    return x


def estimated_ms(row: Row, constants: Constants) -> float:
    """The latency that `constants` give for `row`, at the clocks of the row."""
    board = replace(constants, gpu_clock_mhz=row.gpu_clock_mhz, memory_clock_mhz=row.memory_clock_mhz)
    return timing_of(row.load, board).latency_ms


def _latency_error(row: Row, constants: Constants) -> float:
    return math.log(estimated_ms(row, constants) / row.latency_ms)


def _energy_error(row: Row, constants: Constants, latency_ms: float) -> float | None:
    if row.energy_mj is None:
        return None
    return math.log(energy_of(row.load, constants, latency_ms).total_mj / row.energy_mj)


def rounded(value: float) -> float:
    """As it is written."""
    return float(f"{value:.{DIGITS}g}")


def published_constants(text: str) -> dict[str, float]:
    """The constants that are not fitted, from the text of `tx2.toml`."""
    return {name: float(entry["value"]) for name, entry in tomllib.loads(text)["published"].items()}
