"""(a) The model against every measured row, each network left out of the fit, beside plainer fits."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesynth.energy.comparison import accuracy_of, count_ms, macs_only_ms
from edgesynth.energy.constants import SHIPPED
from edgesynth.energy.fit import FOLDER, ShippedFit, fit_shipped
from edgesynth.energy.rows import Row

__all__ = ["compare", "groups_of"]

Floats = NDArray[np.float64]


def compare() -> dict[str, Any]:
    """For every model that ships: each row's measurement and estimates, and the accuracy by group of rows."""
    return {target: _compare(fit_shipped(FOLDER / name), FOLDER / name) for target, name in SHIPPED.items()}


def groups_of(row: Row) -> list[str]:
    """The groups that a row counts in."""
    held_out = ["NAS-Bench-201, held out"] if row.held_out else []
    if row.harness == "torch2trt" and "~0" in row.network:
        if "none" in row.network:
            return ["NAS-Bench-201 with none edges", *held_out]
        # The first rows that were collected, which the wanted figures were stated for.
        return ["NAS-Bench-201", *(["of these, the first"] if "seed0" not in row.source else []), *held_out]
    return ["held out, unlike the others"] if row.held_out else ["other networks"]


def _compare(fitted: ShippedFit, path: Path) -> dict[str, Any]:
    rows, left_out = fitted.rows, fitted.left_out
    if left_out is None:
        raise ValueError("networks were not left out")
    estimates = {"model": left_out.latency_ms, "macs": macs_only_ms(rows), "kernels": count_ms(rows)}
    inside = fitted.latency.estimates_ms(rows)
    listed = [
        {
            "network": row.label,
            "precision": row.precision,
            "groups": groups_of(row),
            "harness": row.harness,
            "held_out": row.held_out,
            "mmacs": round(row.macs / 1e6, 2),
            "kernels": row.kernels,
            "source": row.source,
            "latency_ms": round(row.latency_ms, 4),
            "fitted_ms": round(float(inside[place]), 4),
            **{f"{name}_ms": round(float(found[place]), 4) for name, found in estimates.items()},
            "energy_mj": row.energy_mj and round(row.energy_mj, 3),
            "model_mj": row.energy_mj and round(float(left_out.whole_energy_mj[place]), 3),
        }
        for place, row in enumerate(rows)
    ]
    return {
        "constants": {"file": path.name, **_constants(fitted)},
        "latency": {name: _by_group(rows, found) for name, found in estimates.items()},
        "energy": _energy(rows, left_out.whole_energy_mj),
        "rows": listed,
    }


def _by_group(rows: Sequence[Row], estimates: Floats) -> dict[str, Any]:
    measured = np.array([row.latency_ms for row in rows])
    names = dict.fromkeys(name for row in rows for name in groups_of(row))
    chosen = {name: np.array([name in groups_of(row) for row in rows]) for name in names}
    return {name: asdict(accuracy_of(estimates[own], measured[own])) for name, own in chosen.items()}


def _energy(rows: Sequence[Row], estimates: Floats) -> dict[str, Any] | None:
    own = [place for place, row in enumerate(rows) if row.energy_mj is not None]
    joules = np.array([rows[place].energy_mj for place in own], dtype=np.float64)
    return asdict(accuracy_of(estimates[own], joules)) if own else None


def _constants(fitted: ShippedFit) -> dict[str, Any]:
    shown = {name: round(value, 4) for name, value in vars(fitted.latency.constants).items() if name != "overhead_ms"}
    overheads = {name: round(value, 4) for name, value in fitted.latency.overheads.items()}
    power = {} if fitted.energy is None else {k: round(v, 4) for k, v in vars(fitted.energy.power).items()}
    return {"latency": shown, "overheads_ms": overheads, "power": power}
