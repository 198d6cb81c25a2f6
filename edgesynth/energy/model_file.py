"""The fitted part of a model's TOML file as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesynth.energy.fitting import ENERGY_NAMES, LATENCY_NAMES, OVERHEAD, SPREADS, EnergyFit, LatencyFit
from edgesynth.energy.leaving_out import LeftOut, rms
from edgesynth.energy.rows import Row

__all__ = ["Overhead", "fitted_text", "quoted"]

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


def fitted_text(
    rows: Sequence[Row], latency: LatencyFit, energy: EnergyFit | None, unseen: LeftOut, overhead: Overhead
) -> str:
    """Constants, overheads, uncertainty and ranges in TOML. `rows` with what was found of them left out."""
    used = [row for row in rows if not row.held_out]
    networks = len({row.network for row in used})
    parts = (
        _constants(latency, energy, f"fitted: the latency of {len(used)} rows, {networks} networks", used),
        _overhead(latency, overhead),
        _latency(rows, latency, unseen, overhead.harness),
        [] if energy is None else _energy(rows, energy, unseen),
        _ranges(used),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def quoted(text: str) -> str:
    """A TOML string."""
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in text)
    return f'"{escaped}"'


def _constants(latency: LatencyFit, energy: EnergyFit | None, on: str, used: Sequence[Row]) -> Iterator[str]:
    for name in LATENCY_NAMES:
        only = f"; only those at {name[-4:]} depend on it" if name.startswith("efficiency") else ""
        yield from _value(name, getattr(latency.constants, name), on + only)
    if energy is not None:
        joules = [row for row in used if row.energy_mj is not None]
        precisions = ", ".join(sorted({row.precision for row in joules}))
        on = f"fitted: the energy of {len(joules)} rows, {len({row.network for row in joules})} networks, {precisions}"
        for name in ENERGY_NAMES:
            yield from _value(name, getattr(energy.power, name), on)


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


def _energy(rows: Sequence[Row], energy: EnergyFit, unseen: LeftOut) -> Iterator[str]:
    metered = [place for place, row in enumerate(rows) if row.energy_mj is not None and not row.held_out]
    joules = np.array([rows[place].energy_mj for place in metered], dtype=np.float64)
    yield "\n# Likewise of energy, at the measured latency."
    yield "[uncertainty.energy]"
    yield f"rms = {_number(rms(unseen.energy_mj[metered], joules))} # {len(metered)} rows"
    yield f"precisions = {_strings(sorted({rows[place].precision for place in metered}))}"
    yield f"names = {_strings(ENERGY_NAMES)}"
    yield from _matrix(energy.covariance)


def _ranges(used: Sequence[Row]) -> Iterator[str]:
    metered = [row for row in used if row.energy_mj is not None]
    yield "\n[ranges]"
    for prefix, chosen in (("", used), ("energy_", metered)):
        if chosen:
            macs, kernels = [row.macs for row in chosen], [row.kernels for row in chosen]
            yield f"{prefix}macs = [{min(macs)}, {max(macs)}]\n{prefix}kernels = [{min(kernels)}, {max(kernels)}]"


def _matrix(values: NDArray[np.float64]) -> Iterator[str]:
    yield "covariance = ["
    yield from (f"  [{', '.join(str(_number(value)) for value in row)}]," for row in values.tolist())
    yield "]"


def _strings(values: Sequence[Any]) -> str:
    return f"[{', '.join(map(quoted, values))}]"


def _number(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
