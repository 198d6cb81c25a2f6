"""The arithmetic of a measurement: from what a run saw to the figures of its record. Pure.

The same run always gives the same figures, so a trace that was fetched can be computed again. Formulas and the
reasons for them: docs/measuring.md.
"""

import itertools
import math
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from edgesynth_agent.energy import LIMIT, window_energy
from edgesynth_agent.protocol import IdleWindow, Run, Schedule, TimedWindow
from edgesynth_agent.stats import mean, median, quantile, t_interval95

__all__ = ["WindowFigures", "figures"]

# A GPU's clock has steps of 5 % and more, and reads the same within 1 % while it stays on one.
_FALL = 0.02
_LEAST_WINDOWS = 2
# Judged later, over all windows together.
_ANY_ERROR = 1e9


class WindowFigures(NamedTuple):
    """One entry of the record's `windows`. A window that is `invalid` counts for no figure."""

    duration_s: float
    inferences: int
    energy_j: Optional[float]
    samples: int
    error_j: Optional[float]
    """Half the width of the 95 % interval of `energy_j`, as far as sampling goes."""
    invalid: Optional[str]


def figures(run: Run, schedule: Schedule, processor: str) -> Dict[str, Any]:
    """All of the record that is computed, by its names in the record, with the run's warnings and more of them.

    Per inference of the whole batch. `processor` is that of the engine: of a "gpu", the clock must not fall.
    """
    warnings = list(run.warnings)
    windows, reasons = _windows(run, processor, warnings)
    valid = [window for window in windows if window.invalid is None]
    found: Dict[str, Any] = {
        "tier": schedule.tier,
        "statistic": None,
        "windows": [dict(window._asdict()) for window in windows],
        "idle": [_idle(run, idle) for idle in run.idle],
        "idle_power_w": None,
        "power_w": None,
        "latency_ms": None,
        "energy_mj": None,
        "inferences_per_joule": None,
        "dynamic_energy_mj": None,
        "ci95": {"latency_ms": None, "energy_mj": None, "inferences_per_joule": None},
        "conditions": _conditions(run),
        "warnings": warnings,
    }
    if run.power.invalid is None:
        _add_idle(found)
    if len(valid) < _LEAST_WINDOWS or 2 * len(valid) <= len(windows):
        what = "INVALID: only {} of {} windows count, and more than half must, 2 at least"
        warnings.append(what.format(len(valid), len(windows)))
        return found
    kept = [seen for seen, window in zip(run.windows, windows) if window.invalid is None]
    _add_latency(found, kept)
    if run.power.invalid is None:
        if reasons:
            warnings.append("energy is unknown: " + reasons[0])
        else:
            _add_energy(found, valid, schedule)
    return found


def _windows(run: Run, processor: str, warnings: List[str]) -> Tuple[List[WindowFigures], List[str]]:
    """The windows, and for each that counts and has no energy, why."""
    windows, reasons, unseen = [], [], 0
    settled_mhz = _settled_mhz(run)
    for index, window in enumerate(run.windows):
        name = "window {} of {}".format(index + 1, len(run.windows))
        began_s = list(itertools.accumulate(itertools.chain([window.start_s], window.latencies_s)))
        energy = window_energy(run.power, window.start_s, window.end_s, began_s, _ANY_ERROR)
        invalid = None
        if processor == "gpu":
            lowest_mhz = _lowest_mhz(run, window)
            unseen += lowest_mhz is None
            invalid = _why_invalid(settled_mhz, lowest_mhz)
        if invalid is not None:
            warnings.append("{} does not count: {}".format(name, invalid))
        elif energy.reason is not None:
            reasons.append("{}: {}".format(name, energy.reason))
        duration_s, inferences = window.end_s - window.start_s, len(window.latencies_s)
        windows.append(WindowFigures(duration_s, inferences, energy.energy_j, energy.samples, energy.error_j, invalid))
    if unseen:
        what = "the GPU clock is not known in {} of {} windows, so throttling there would have gone unseen"
        warnings.append(what.format(unseen, len(windows)))
    return windows, reasons


def _settled_mhz(run: Run) -> Optional[float]:
    """The GPU's clock at the end of the warm-up, else at the beginning of the windows."""
    begin_s = run.windows[0].start_s
    known = [(each.time_s, each.gpu_mhz) for each in run.conditions if each.gpu_mhz is not None]
    warm = [mhz for time_s, mhz in known if run.settled_s <= time_s <= begin_s]
    if warm:
        return max(warm)
    later = [mhz for time_s, mhz in known if time_s > begin_s]
    return later[0] if later else None


def _lowest_mhz(run: Run, window: TimedWindow) -> Optional[float]:
    inside = [each.gpu_mhz for each in run.conditions if window.start_s <= each.time_s <= window.end_s]
    return min((mhz for mhz in inside if mhz is not None), default=None)


def _why_invalid(settled_mhz: Optional[float], lowest_mhz: Optional[float]) -> Optional[str]:
    if settled_mhz is None or lowest_mhz is None or lowest_mhz >= (1 - _FALL) * settled_mhz:
        return None
    what = "the GPU clock fell from {:g} MHz to {:g} MHz; cool the device, or fix its clocks (jetson_clocks)"
    return what.format(settled_mhz, lowest_mhz)


def _idle(run: Run, idle: IdleWindow) -> Dict[str, Any]:
    duration_s = idle.end_s - idle.start_s
    energy = window_energy(run.power, idle.start_s, idle.end_s, limit=_ANY_ERROR)
    power_w = None if energy.energy_j is None else energy.energy_j / duration_s
    return {
        "when": idle.when,
        "duration_s": duration_s,
        "power_w": power_w,
        "samples": energy.samples,
        "reason": energy.reason,
    }


def _add_idle(found: Dict[str, Any]) -> None:
    """The mean of both idle windows, which are of one length; of one where the other is unknown."""
    powers_w = [idle["power_w"] for idle in found["idle"] if idle["power_w"] is not None]
    if powers_w:
        found["idle_power_w"] = mean(powers_w)
    elif found["idle"]:
        found["warnings"].append("idle power is unknown: " + found["idle"][0]["reason"])


def _add_latency(found: Dict[str, Any], windows: List[TimedWindow]) -> None:
    latencies_ms = sorted(1e3 * latency_s for window in windows for latency_s in window.latencies_s)
    found["latency_ms"] = {
        "mean": mean(latencies_ms),
        "p50": quantile(latencies_ms, 0.50),
        "p90": quantile(latencies_ms, 0.90),
        "p99": quantile(latencies_ms, 0.99),
    }
    means_ms = [1e3 * (window.end_s - window.start_s) / len(window.latencies_s) for window in windows]
    found["ci95"]["latency_ms"] = t_interval95(means_ms)


def _add_energy(found: Dict[str, Any], windows: List[WindowFigures], schedule: Schedule) -> None:
    """Of windows that all have an energy and its error: the figures, or why they are not known well enough."""
    energies_j = [window.energy_j or 0.0 for window in windows]
    errors_j = [window.error_j or 0.0 for window in windows]
    together = math.sqrt(math.fsum(error_j**2 for error_j in errors_j)) / math.fsum(energies_j)
    worst = max(error_j / energy_j for error_j, energy_j in zip(errors_j, energies_j))
    if together > LIMIT:
        what = "energy is unknown: power varies so much between samples that energy is known to {:.2%}, not {:.2%}, "
        what += "over all windows together; ask for longer windows"
        found["warnings"].append(what.format(together, LIMIT))
        return
    pooled = schedule.tier == "reported" or worst > LIMIT
    if worst > LIMIT:
        what = "single windows are known to {:.2%} only, so power and energy are those of all windows together"
        found["warnings"].append(what.format(worst))
    each_mj = [1e3 * energy_j / window.inferences for energy_j, window in zip(energies_j, windows)]
    inferences = sum(window.inferences for window in windows)
    duration_s = math.fsum(window.duration_s for window in windows)
    if pooled:
        found["power_w"] = math.fsum(energies_j) / duration_s
        found["energy_mj"] = 1e3 * math.fsum(energies_j) / inferences
    else:
        found["power_w"] = median([energy_j / window.duration_s for energy_j, window in zip(energies_j, windows)])
        found["energy_mj"] = median(each_mj)
    found["statistic"] = "pooled" if pooled else "median"
    found["inferences_per_joule"] = 1e3 / found["energy_mj"]
    found["ci95"]["energy_mj"] = t_interval95(each_mj)
    found["ci95"]["inferences_per_joule"] = t_interval95([1e3 / value for value in each_mj])
    if found["idle_power_w"] is not None:
        seconds_each = duration_s / inferences
        found["dynamic_energy_mj"] = found["energy_mj"] - 1e3 * found["idle_power_w"] * seconds_each


def _conditions(run: Run) -> Dict[str, Any]:
    clocks = [each.gpu_mhz for each in run.conditions if each.gpu_mhz is not None]
    degrees = [each.temperature_c for each in run.conditions if each.temperature_c is not None]
    return {
        "before": run.before,
        "after": run.after,
        "gpu_mhz": {"settled": _settled_mhz(run), "lowest": min(clocks), "highest": max(clocks)} if clocks else None,
        "temperature_c": {"first": degrees[0], "last": degrees[-1], "highest": max(degrees)} if degrees else None,
    }
