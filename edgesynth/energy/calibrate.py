"""A model of a board refitted on what its agents have measured."""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgesynth_exporters.targets import TARGETS, Target, find_target
from numpy.typing import NDArray

from edgesynth.energy.comparison import Accuracy, accuracy_of, macs_only_ms
from edgesynth.energy.constants import SHIPPED, Calibration, Power, calibration_of
from edgesynth.energy.fitting import (
    ENERGY_NAMES,
    LATENCY_NAMES,
    OVERHEAD,
    LatencyFit,
    Prior,
    fit_energy,
    fit_latency,
)
from edgesynth.energy.leaving_out import leave_out
from edgesynth.energy.measured_rows import HARNESS, Skipped, rows_from
from edgesynth.energy.model import energy_of
from edgesynth.energy.model_file import EnergyPart, Overhead, fitted_energy, fitted_text, kept_energy, quoted
from edgesynth.energy.rows import Row
from edgesynth.errors import EdgesynthError

__all__ = ["LEAST_NETWORKS", "Recalibration", "calibrate"]

Floats = NDArray[np.float64]

LEAST_NETWORKS = 3
LEAST_GAIN = 1e-3
LEAST_FACTOR = 1.6
"""However sure a model is of a constant, another board's may differ by this factor."""


@dataclass(frozen=True)
class Recalibration:
    """The refitted model as the text of its file, and how wrong it is about networks left out of the fit, beside the
    model that it began from and a fit on multiply-accumulates alone. Energy None: too few joules were measured. Where
    it could not be refitted, or was no better for it, the power of the model that it began from is kept."""

    text: str
    rows: int
    networks: int
    skipped: list[Skipped]
    constants: dict[str, float]
    latency: Accuracy
    latency_before: Accuracy
    latency_macs_only: Accuracy
    energy: Accuracy | None
    energy_before: Accuracy | None

    @property
    def better(self) -> bool:
        """Whether refitting helped: the median error of latency fell by LEAST_GAIN or more."""
        return self.latency.median <= self.latency_before.median - LEAST_GAIN


def calibrate(target: str, lines: Sequence[str], *, simulated: bool = False) -> Recalibration:
    """Refits the model of the board `target` on measurements, one JSON document an entry. `simulated` figures count too
    if wanted; the model then says so, and each of its estimates.

    Raises EdgesynthError where the target is no board with a model, and where there are too few networks.
    """
    board = find_target(target)
    base = _base(board)
    known = calibration_of(base.name)
    rows, skipped = rows_from(lines, board, known, simulated=simulated)
    networks = len({row.network for row in rows})
    if networks < LEAST_NETWORKS:
        raise EdgesynthError(
            f"{networks} networks on {target} are not enough to fit a model on, {LEAST_NETWORKS} are the least: "
            f"measure more with edgesynth bench --json; {_why(skipped)}"
        )
    priors = _priors(known)
    latency = fit_latency(rows, known.constants, priors)
    metered = [row for row in rows if row.energy_mj is not None]
    power = known.power if len({row.network for row in metered}) >= LEAST_NETWORKS else None
    energy = None if power is None else fit_energy(rows, power, priors)
    unseen = leave_out(rows, known.constants, power, priors, latency)
    overhead = _overhead(latency, _how(rows))
    measured = np.array([row.latency_ms for row in rows])
    joules = np.array([row.energy_mj for row in metered], dtype=np.float64)
    found = [place for place, row in enumerate(rows) if row.energy_mj is not None]
    if power is None or energy is None:
        part = kept_energy(known, base.name, f"{_joules(rows)} networks with joules are too few to refit it on")
        energy_unseen = energy_before = None
    else:
        part, energy_unseen = fitted_energy(rows, energy, unseen), accuracy_of(unseen.whole_energy_mj[found], joules)
        energy_before = accuracy_of(_joules_by(power, metered, _before_ms(metered, known)), joules)
        kept = accuracy_of(_joules_by(power, metered, unseen.latency_ms[found]), joules)
        if kept.median < energy_unseen.median:
            part = kept_energy(known, base.name, "refitted it is worse about networks left out of the fit")
            energy_unseen = kept
    return Recalibration(
        text=_file(board, base, rows, part, fitted_text(rows, latency, part, unseen, overhead)),
        rows=len(rows),
        networks=networks,
        skipped=skipped,
        constants=_constants(latency, part),
        latency=accuracy_of(unseen.latency_ms, measured),
        latency_before=accuracy_of(_before_ms(rows, known), measured),
        latency_macs_only=accuracy_of(macs_only_ms(rows), measured),
        energy=energy_unseen,
        energy_before=energy_before,
    )


def _base(board: Target) -> Target:
    if board.kind != "board":
        raise EdgesynthError(f"{board.name} is no board: give the board whose agents measured, as in calibrate tx2")
    boards = {board.name, board.based_on}
    models = [each for each in TARGETS.values() if each.name in SHIPPED and each.based_on in boards]
    if not models:
        raise EdgesynthError(f"there is no model of {board.name} to begin from; there are {', '.join(SHIPPED)}")
    return models[0]


def _priors(known: Calibration) -> dict[str, Prior]:
    """What the model says already, as far as it is sure of it."""
    deviations = dict(zip(known.fitted, np.sqrt(np.diag(known.covariance)).tolist(), strict=True))
    if known.power is not None:
        deviations |= dict(zip(known.energy_fitted, np.sqrt(np.diag(known.energy_covariance)).tolist(), strict=True))
    values = vars(known.constants) | (vars(known.power) if known.power else {})
    found = {name: Prior(values[name], max(LEAST_FACTOR, _factor(deviation))) for name, deviation in deviations.items()}
    overhead, (low, high) = known.constants.overhead_ms, known.overhead_range_ms
    return found | {OVERHEAD: Prior(overhead, max(high / overhead, overhead / low))}


def _factor(deviation: float) -> float:
    return float(np.exp(1.96 * deviation))


def _overhead(latency: LatencyFit, how: str) -> Overhead:
    value = latency.overheads[HARNESS]
    deviation = float(np.sqrt(latency.covariance[-1, -1]))
    source = f"fitted on what agents {how}"
    return Overhead(value, value / _factor(deviation), value * _factor(deviation), source, HARNESS)


def _how(rows: Sequence[Row]) -> str:
    """ "measured" where every row was: what was played proves nothing about a board, and must not look as if it did."""
    return " and ".join(sorted({row.source for row in rows}))


def _before_ms(rows: Sequence[Row], known: Calibration) -> Floats:
    fixed = LatencyFit(known.constants, {HARNESS: known.constants.overhead_ms}, known.covariance)
    return fixed.estimates_ms(rows)


def _joules_by(power: Power, rows: Sequence[Row], latencies_ms: Floats) -> Floats:
    """(N,) mJ of rows at those latencies."""
    pairs = zip(rows, latencies_ms.tolist(), strict=True)
    return np.array([energy_of(row.load, power, latency_ms).total_mj for row, latency_ms in pairs])


def _constants(latency: LatencyFit, energy: EnergyPart | None) -> dict[str, float]:
    found = {name: float(getattr(latency.constants, name)) for name in LATENCY_NAMES}
    found[OVERHEAD] = latency.overheads[HARNESS]
    return found | ({} if energy is None else {name: float(getattr(energy.power, name)) for name in ENERGY_NAMES})


def _why(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return "no line was left out"
    return f"{len(skipped)} lines were left out, line {skipped[0].line} because {skipped[0].reason}"


def _file(board: Target, base: Target, rows: Sequence[Row], energy: EnergyPart | None, fitted: str) -> str:
    """The whole file: the target, the published constants of the model that it began from, and the fitted part."""
    document = tomllib.loads(Path(__file__).with_name(SHIPPED[base.name]).read_text(encoding="utf-8"))
    networks = len({row.network for row in rows})
    digest = hashlib.sha256(fitted.encode()).hexdigest()[:8]
    how = _how(rows)
    count = f"{len(rows)} measurements" if how == "measured" else f"{len(rows)} {how} figures"
    lines = [
        f"# A model of {board.name}, fitted by `edgesynth calibrate` on {count}, {networks} networks.",
        f"# It began from {base.name}. Name it by `--target`; delete the file to be rid of it.",
        f"\nversion = {quoted(f'{count}, {digest}')}",
    ]
    if energy is None:
        lines.append(f"no_power = {quoted(_no_power(rows))}")
    lines += [
        "\n[target]",
        f"based_on = {quoted(board.based_on or board.name)}",
        f"description = {quoted(f'model of {board.name}, fitted on {networks} {how} networks')}",
        "\n[board]",
        *(f"{name} = {quoted(str(value))}" for name, value in document["board"].items()),
        *_published(document["published"], without_power=energy is None),
    ]
    return "\n".join(lines) + "\n" + fitted


def _no_power(rows: Sequence[Row]) -> str:
    return f"agents measured the joules of {_joules(rows)} networks, {LEAST_NETWORKS} are the least"


def _joules(rows: Sequence[Row]) -> int:
    """The networks whose joules were measured."""
    return len({row.network for row in rows if row.energy_mj is not None})


def _published(table: Mapping[str, Mapping[str, Any]], *, without_power: bool) -> Iterator[str]:
    for name, entry in table.items():
        if not (without_power and name in POWER_NAMES):
            yield f"\n[published.{name}]\nvalue = {float(entry['value'])}\nsource = {quoted(str(entry['source']))}"


POWER_NAMES = {"idle_power_w", "memory_pj_per_byte", "fp16_energy_ratio"}
