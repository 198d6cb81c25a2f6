"""The protocol of a measurement: warm up, then time windows of back-to-back inference.

Pure in the sense that everything outside (engine, clock, sensor) comes in as an argument.
"""

from typing import Callable, List, NamedTuple

from edgesynth_agent.clock import Clock
from edgesynth_agent.engines.base import Engine
from edgesynth_agent.power.base import PowerSource, PowerTrace
from edgesynth_agent.stats import quantile

__all__ = ["Run", "Schedule", "TimedWindow", "measure"]

# Warm-up is over when the medians of this many blocks in a row lie within this share of the greatest of them.
_FLAT_BLOCKS = 3
_FLAT_SHARE = 0.05

Progress = Callable[[str, float], None]


class Schedule(NamedTuple):
    """How long to warm up (at least, at most) and how many windows of at least which duration to time."""

    warmup_min_s: float
    warmup_max_s: float
    windows: int
    window_s: float


class TimedWindow(NamedTuple):
    """Inferences back to back: each begins where the one before ended, so their latencies add up to the window."""

    start_s: float
    end_s: float
    latencies_s: List[float]


class Run(NamedTuple):
    """What was seen, before any arithmetic."""

    warmup_s: float
    windows: List[TimedWindow]
    power: PowerTrace
    warnings: List[str]


def measure(engine: Engine, clock: Clock, power: PowerSource, schedule: Schedule, on_progress: Progress) -> Run:
    """Run a prepared engine by the schedule. Raises what the engine raises.

    The sensor samples from the warm-up on, so that it is under way when the first window begins.
    `on_progress(stage, share)` is called between windows only, never inside one.
    """
    on_progress("warming up", 0.0)
    warnings: List[str] = []
    windows: List[TimedWindow] = []
    power.start()
    try:
        start_s = clock.now_s()
        if not _warm_up(engine, clock, schedule):
            warnings.append(
                "latency was still moving by more than {:.0%} after {:g} s of warm-up".format(
                    _FLAT_SHARE, schedule.warmup_max_s
                )
            )
        warmup_s = clock.now_s() - start_s
        for index in range(schedule.windows):
            on_progress("measuring", (index + 1) / (schedule.windows + 1))
            windows.append(_time_window(engine, clock, schedule.window_s))
    finally:
        trace = power.stop()
    if trace.invalid is not None:
        warnings.append("power and energy are unknown: " + trace.invalid)
    elif power.caveat is not None:
        warnings.append(power.caveat)
    return Run(warmup_s, windows, trace, warnings)


def _warm_up(engine: Engine, clock: Clock, schedule: Schedule) -> bool:
    """Run until latency is flat; False when the longest warm-up went by first. A longest of 0 s means none."""
    if schedule.warmup_max_s == 0:
        return True
    block_s = max(schedule.warmup_min_s, schedule.warmup_max_s / 10) / _FLAT_BLOCKS
    medians: List[float] = []
    start_s = clock.now_s()
    while True:
        block = _time_window(engine, clock, block_s)
        medians.append(quantile(sorted(block.latencies_s), 0.5))
        latest = medians[-_FLAT_BLOCKS:]
        flat = len(latest) == _FLAT_BLOCKS and max(latest) - min(latest) <= _FLAT_SHARE * max(latest)
        elapsed_s = block.end_s - start_s
        if flat and elapsed_s >= schedule.warmup_min_s:
            return True
        if elapsed_s >= schedule.warmup_max_s:
            return False


def _time_window(engine: Engine, clock: Clock, duration_s: float) -> TimedWindow:
    latencies_s: List[float] = []
    start_s = last_s = clock.now_s()
    while last_s - start_s < duration_s:
        engine.run()
        now_s = clock.now_s()
        latencies_s.append(now_s - last_s)
        last_s = now_s
    return TimedWindow(start_s, last_s, latencies_s)
