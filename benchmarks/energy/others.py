"""The shipped TX2 model against rows of the reader's own, which it may never have seen.

The file is a CSV with a heading. Columns: `cell` (a NAS-Bench-201 architecture string, "|op~0|+|op~0|op~1|+…") or
`network` (a name of `edgesynth.energy.rows.NETWORKS`), `latency_ms`; and, where they differ from the defaults,
`classes` (10), `size` (32), `precision` (fp32), `harness` (torch2trt), `energy_mj`, and the three clocks of a row in
edgesynth/energy/data.
"""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgesynth.energy.comparison import accuracy_of
from edgesynth.energy.constants import SHIPPED
from edgesynth.energy.fit import FOLDER, ShippedFit, fit_shipped
from edgesynth.energy.fitting import fit_energy, fit_latency
from edgesynth.energy.model import energy_of
from edgesynth.energy.rows import Row, row_of

__all__ = ["compare_with"]

DEFAULTS = {
    "use": "fit", "network": "nasbench201", "cell": "", "classes": "10", "size": "32", "precision": "fp32",
    "harness": "torch2trt", "gpu_clock_mhz": "1300.5", "memory_clock_mhz": "1866", "cpu_clock_mhz": "2035",
    "energy_mj": "", "source": "",
}  # fmt: skip


def compare_with(path: Path) -> dict[str, Any]:
    """Errors row by row and together. A network that the model was fitted on is estimated by a fit without it."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row_of(DEFAULTS | {k: v for k, v in record.items() if v}) for record in csv.DictReader(file)]
    fitted = fit_shipped(FOLDER / SHIPPED["tx2-sim"], left_out=False)
    estimates = [_estimate(row, fitted) for row in rows]
    latency = accuracy_of(np.array([ms for ms, _ in estimates]), np.array([row.latency_ms for row in rows]))
    metered = [(mj, row.energy_mj) for (_, mj), row in zip(estimates, rows, strict=True) if row.energy_mj is not None]
    energy = accuracy_of(*np.array(metered, dtype=np.float64).T) if metered else None
    return {
        "rows": [
            {
                "network": row.label,
                "latency_ms": row.latency_ms,
                "model_ms": ms,
                "energy_mj": row.energy_mj,
                "model_mj": mj,
            }
            for row, (ms, mj) in zip(rows, estimates, strict=True)
        ],
        "latency": asdict(latency),
        "energy": energy and asdict(energy),
    }


def _estimate(row: Row, fitted: ShippedFit) -> tuple[float, float]:
    """Latency and energy."""
    latency, energy = fitted.latency, fitted.energy
    if energy is None:
        raise ValueError("the model of a TX2 knows joules")
    if any(each.network == row.network and not each.held_out for each in fitted.rows):
        used = [each for each in fitted.rows if not each.held_out and each.network != row.network]
        energy = fit_energy(used, energy.power, fitted.priors)
        latency = fit_latency(used, latency.constants, fitted.priors, list(latency.overheads), start=latency)
    latency_ms = float(latency.estimates_ms([row])[0])
    return latency_ms, energy_of(row.load, energy.power, latency_ms).total_mj
