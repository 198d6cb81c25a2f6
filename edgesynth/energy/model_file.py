"""The fitted part of a model's TOML file as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesynth.energy.constants import Calibration, Power
from edgesynth.energy.fitting import ENERGY_NAMES, LATENCY_NAMES, OVERHEAD, SPREADS, EnergyFit, LatencyFit
from edgesynth.energy.leaving_out import LeftOut, rms
from edgesynth.energy.rows import Row

__all__ = ["EnergyPart", "Overhead", "fitted_energy", "fitted_text", "kept_energy", "quoted"]

DIGITS = 4  # significant digits of every number that is written


@dataclass(frozen=True)
class Overhead:
    """The overhead in milliseconds that is expected of edgesynth's own agent, between `low` and `high`. `harness` is
    the one among the fitted overheads whose uncertainty is in the covariance, None for none."""

    value: float
    low: float
    high: float
    source: str
    harness: str | None = None


@dataclass(frozen=True)
class EnergyPart:
    """What a file says of energy: power, the covariance of its fitted constants' logarithms, the rms of rows that were
    left out, precisions and ranges of the rows with joules; `on` says which, `source` where constants come from."""

    power: Power
    covariance: NDArray[np.float64]
    rms: float
    precisions: Sequence[str]
    macs: tuple[int, int]
    kernels: tuple[int, int]
    on: str
    source: str


def fitted_energy(rows: Sequence[Row], energy: EnergyFit, unseen: LeftOut) -> EnergyPart:
    """Of a fit on the rows with joules, each network of which was left out once."""
    places = [place for place, row in enumerate(rows) if row.energy_mj is not None and not row.held_out]
    metered = [rows[place] for place in places]
    joules = np.array([row.energy_mj for row in metered], dtype=np.float64)
    macs, kernels = [row.macs for row in metered], [row.kernels for row in metered]
    precisions = sorted({row.precision for row in metered})
    networks = len({row.network for row in metered})
    return EnergyPart(
        power=energy.power,
        covariance=energy.covariance,
        rms=rms(unseen.energy_mj[places], joules),
        precisions=precisions,
        macs=(min(macs), max(macs)),
        kernels=(min(kernels), max(kernels)),
        on=f"{len(metered)} rows",
        source=f"fitted: the energy of {len(metered)} rows, {networks} networks, {', '.join(precisions)}",
    )


def kept_energy(known: Calibration, model: str, why: str) -> EnergyPart | None:
    """That of the model that a fit began from; None where it knows no joules."""
    if known.power is None or known.energy_macs_range is None or known.energy_kernels_range is None:
        return None
    return EnergyPart(
        power=known.power,
        covariance=known.energy_covariance,
        rms=known.energy_rms,
        precisions=known.energy_precisions,
        macs=known.energy_macs_range,
        kernels=known.energy_kernels_range,
        on=f"as {model} has it",
        source=f"that of {model}: {why}",
    )


def fitted_text(
    rows: Sequence[Row], latency: LatencyFit, energy: EnergyPart | None, unseen: LeftOut, overhead: Overhead
) -> str:
    """Constants, overheads, uncertainty and ranges in TOML. `rows` with what was found of them left out."""
    used = [row for row in rows if not row.held_out]
    networks = len({row.network for row in used})
    parts = (
        _constants(latency, energy, f"fitted: the latency of {len(used)} rows, {networks} networks"),
        _overhead(latency, overhead),
        _latency(rows, latency, unseen, overhead.harness),
        [] if energy is None else _energy(energy),
        _ranges(used, energy),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def quoted(text: str) -> str:
    """A TOML string."""
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in text)
    return f'"{escaped}"'


def _constants(latency: LatencyFit, energy: EnergyPart | None, on: str) -> Iterator[str]:
    for name in LATENCY_NAMES:
        only = f"; only those at {name[-4:]} depend on it" if name.startswith("efficiency") else ""
        yield from _value(name, getattr(latency.constants, name), on + only)
    if energy is not None:
        for name in ENERGY_NAMES:
            yield from _value(name, getattr(energy.power, name), energy.source)


def _value(name: str, value: float, source: str) -> Iterator[str]:
    yield f"\n[fitted.{name}]\nvalue = {_number(value)}\nsource = {quoted(source)}"


def _overhead(latency: LatencyFit, overhead: Overhead) -> Iterator[str]:
    yield "\n# An inference of edgesynth's agent costs so much besides its kernels, in milliseconds."
    yield "[overhead]"
    yield f"value = {_number(overhead.value)}\nlow = {_number(overhead.low)}\nhigh = {_number(overhead.high)}"
    yield f"source = {quoted(overhead.source)}"
    yield "\n# Likewise of each harness that rows were measured through, fitted with them."
    yield "[harness_ms]"
    yield from (f"{quoted(name)} = {_number(value)}" for name, value in latency.overheads.items())


def _latency(rows: Sequence[Row], latency: LatencyFit, unseen: LeftOut, harness: str | None) -> Iterator[str]:
    measured = np.array([row.latency_ms for row in rows])
    places = list(range(len(LATENCY_NAMES)))
    names = [*LATENCY_NAMES]
    if harness is not None:
        places.append(len(LATENCY_NAMES) + list(latency.overheads).index(harness))
        names.append(OVERHEAD)
    used = np.array([not row.held_out for row in rows])
    yield "\n# Root mean square of ln(estimate / measurement) of rows whose network was left out, and the covariance of"
    yield "# the logarithms of the constants."
    yield "[uncertainty.latency]"
    kinds = (("launch_bound", unseen.launch_bound), ("gpu_bound", ~unseen.launch_bound))
    for (name, chosen), spread in zip(kinds, SPREADS, strict=True):
        found = used & chosen
        error = rms(unseen.latency_ms[found], measured[found]) if found.any() else spread
        yield f"{name}_rms = {_number(error)} # {f'{found.sum()} rows' if found.any() else 'assumed: no row is'}"
    yield f"precisions = {_strings(sorted({row.precision for row in rows if not row.held_out}))}"
    yield f"names = {_strings(names)}"
    yield from _matrix(latency.covariance[np.ix_(places, places)])


def _energy(energy: EnergyPart) -> Iterator[str]:
    yield "\n# Likewise of energy, at the measured latency."
    yield "[uncertainty.energy]"
    yield f"rms = {_number(energy.rms)} # {energy.on}"
    yield f"precisions = {_strings(energy.precisions)}"
    yield f"names = {_strings(ENERGY_NAMES)}"
    yield from _matrix(energy.covariance)


def _ranges(used: Sequence[Row], energy: EnergyPart | None) -> Iterator[str]:
    macs, kernels = [row.macs for row in used], [row.kernels for row in used]
    yield "\n[ranges]"
    yield f"macs = [{min(macs)}, {max(macs)}]\nkernels = [{min(kernels)}, {max(kernels)}]"
    if energy is not None:
        yield f"energy_macs = {list(energy.macs)}\nenergy_kernels = {list(energy.kernels)}"


def _matrix(values: NDArray[np.float64]) -> Iterator[str]:
    yield "covariance = ["
    yield from (f"  [{', '.join(str(_number(value)) for value in row)}]," for row in values.tolist())
    yield "]"


def _strings(values: Sequence[Any]) -> str:
    return f"[{', '.join(map(quoted, values))}]"


def _number(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
