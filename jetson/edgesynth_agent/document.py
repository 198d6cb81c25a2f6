"""From what a run saw to the document that the agent answers with (`schemas/measurement-1.json`)."""

import itertools
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from edgesynth_agent.energy import window_energy
from edgesynth_agent.engines.base import Engine
from edgesynth_agent.measure import Run, Schedule
from edgesynth_agent.stats import mean, quantile, t_interval95

__all__ = ["SCHEMA", "EngineFacts", "measurement_document"]

SCHEMA = "edgesynth.measurement/1"


class EngineFacts(NamedTuple):
    """What a record says of an engine, when the engine itself is no longer there."""

    backend: str
    version: str
    precision: str
    flags: Dict[str, Any]

    @classmethod
    def of(cls, engine: Engine) -> "EngineFacts":
        return cls(engine.backend, engine.version, engine.precision, dict(engine.flags))


class _Window(NamedTuple):
    """One entry of the record's `windows`."""

    duration_s: float
    inferences: int
    energy_j: Optional[float]
    samples: int


def measurement_document(
    target: str,
    device: Dict[str, Any],
    engine: Union[Engine, EngineFacts],
    batch: int,
    seed: int,
    schedule: Schedule,
    run: Run,
) -> Dict[str, Any]:
    """One measurement. Figures are per inference of the whole batch; energy is None unless every window has it."""
    windows, reasons = _windows(run)
    warnings = list(run.warnings)
    if run.power.invalid is None and reasons:
        warnings.append("energy is unknown: " + reasons[0])
    latencies_ms = sorted(1e3 * latency_s for window in run.windows for latency_s in window.latencies_s)
    flags = dict(engine.flags)
    flags.update(schedule._asdict(), warmup_s=run.warmup_s, inputs="normal noise", seed=seed)
    document = {
        "schema": SCHEMA,
        "target": target,
        "source": "measured",
        "device": device,
        "engine": {
            "backend": engine.backend,
            "version": engine.version,
            "precision": engine.precision,
            "batch": batch,
            "flags": flags,
        },
        "windows": [dict(window._asdict()) for window in windows],
        "idle_power_w": None,
        "latency_ms": {
            "mean": mean(latencies_ms),
            "p50": quantile(latencies_ms, 0.50),
            "p90": quantile(latencies_ms, 0.90),
            "p99": quantile(latencies_ms, 0.99),
        },
        "ci95": {"latency_ms": t_interval95([1e3 * window.duration_s / window.inferences for window in windows])},
        "warnings": warnings,
    }
    _add_energy(document, windows)
    return document


def _windows(run: Run) -> Tuple[List[_Window], List[str]]:
    """The windows, and for each without energy why."""
    windows, reasons = [], []
    for index, window in enumerate(run.windows):
        began_s = list(itertools.accumulate([window.start_s] + window.latencies_s))
        energy = window_energy(run.power, window.start_s, window.end_s, began_s)
        if energy.reason is not None:
            reasons.append("window {} of {}: {}".format(index + 1, len(run.windows), energy.reason))
        duration_s = window.end_s - window.start_s
        windows.append(_Window(duration_s, len(window.latencies_s), energy.energy_j, energy.samples))
    return windows, reasons


def _add_energy(document: Dict[str, Any], windows: List[_Window]) -> None:
    energies_j = [window.energy_j for window in windows if window.energy_j is not None]
    if len(energies_j) < len(windows):
        document.update(power_w=None, energy_mj=None, inferences_per_joule=None)
        document["ci95"].update(energy_mj=None, inferences_per_joule=None)
        return
    inferences = sum(window.inferences for window in windows)
    each_mj = [1e3 * energy_j / windows[index].inferences for index, energy_j in enumerate(energies_j)]
    document["power_w"] = sum(energies_j) / sum(window.duration_s for window in windows)
    document["energy_mj"] = 1e3 * sum(energies_j) / inferences
    document["inferences_per_joule"] = inferences / sum(energies_j)
    document["ci95"]["energy_mj"] = t_interval95(each_mj)
    document["ci95"]["inferences_per_joule"] = t_interval95([1e3 / value for value in each_mj])
