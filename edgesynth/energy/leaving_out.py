"""How wrong a model is about networks that it was not fitted on: each network is left out of the fit in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesynth.energy.constants import Constants, Power
from edgesynth.energy.fitting import LatencyFit, Prior, fit_energy, fit_latency, launch_bound
from edgesynth.energy.model import energy_of
from edgesynth.energy.rows import Row

__all__ = ["LeftOut", "leave_out", "rms"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LeftOut:
    """Per row (N,): the latency that a fit without its network estimates, its energy at the measured latency by such a
    fit, its energy at the estimated latency (both NaN where the row has no joules), and whether launches bind it."""

    latency_ms: Floats
    energy_mj: Floats
    whole_energy_mj: Floats
    launch_bound: NDArray[np.bool_]


def leave_out(
    rows: Sequence[Row], base: Constants, power: Power | None, priors: Mapping[str, Prior], whole: LatencyFit
) -> LeftOut:
    """A row that is held out is estimated by the fit on all others that are not, as are the rows of its network."""
    latency, energy, both = (np.full(len(rows), np.nan) for _ in range(3))
    harnesses = list(whole.overheads)
    for network in dict.fromkeys(row.network for row in rows):
        places = [place for place, row in enumerate(rows) if row.network == network]
        used = [row for row in rows if not row.held_out and row.network != network]
        fitted = fit_latency(used, base, priors, harnesses, start=whole)
        latency[places] = fitted.estimates_ms([rows[place] for place in places])
        metered = [place for place in places if rows[place].energy_mj is not None]
        if power is None or not metered:
            continue
        unseen = fit_energy(used, power, priors).power
        energy[metered] = [energy_of(rows[p].load, unseen, rows[p].latency_ms).total_mj for p in metered]
        both[metered] = [energy_of(rows[p].load, unseen, float(latency[p])).total_mj for p in metered]
    return LeftOut(latency, energy, both, launch_bound(rows, whole))


def rms(estimates: Floats, measurements: Floats) -> float:
    """The root mean square of ln(estimate / measurement)."""
    return float(np.sqrt(np.mean(np.log(estimates / measurements) ** 2)))
