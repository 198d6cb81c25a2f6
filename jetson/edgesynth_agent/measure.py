"""The protocol of a measurement: idle, warm up, time windows of back-to-back inference, idle again.

Pure in the sense that everything outside (engine, clock, sensor, conditions) comes in as an argument. It changes no
setting of the device, so there is none to restore. The rules and formulas are in docs/measuring.md.
"""

from array import array
from typing import Callable, List, NamedTuple, Optional

from edgesynth_agent.clock import Clock
from edgesynth_agent.conditions import Conditions, NoConditions
from edgesynth_agent.engines.base import Engine
from edgesynth_agent.power.base import PowerSource
from edgesynth_agent.protocol import IdleWindow, Run, Schedule, TimedWindow
from edgesynth_agent.stats import quantile

__all__ = ["Run", "Schedule", "TimedWindow", "measure"]

# Warm-up is over when this many blocks in a row are alike: the medians of their latencies within this share of the
# greatest of them, the GPU's clock too, and temperatures within so many degrees. Zones tell half degrees.
_FLAT_BLOCKS = 3
_FLAT_SHARE = 0.05
_FLAT_CLOCK = 0.02
_FLAT_C = 1.0

Progress = Callable[[str, float], None]


class _Block(NamedTuple):
    """A stretch of the warm-up."""

    start_s: float
    median_s: float
    gpu_mhz: Optional[float]
    temperature_c: Optional[float]


class _Warmup(NamedTuple):
    settled_s: float
    moving: List[str]
    """What was not flat when the longest warm-up went by."""


def measure(
    engine: Engine,
    clock: Clock,
    power: PowerSource,
    schedule: Schedule,
    on_progress: Progress,
    conditions: Optional[Conditions] = None,
) -> Run:
    """Run a prepared engine by the schedule. Raises what the engine raises.

    The sensors sample from the first idle window to the last. `on_progress(stage, share)` is called between windows
    only, never inside one.
    """
    conditions = conditions or NoConditions(clock)
    steps = schedule.windows + 1
    before = conditions.snapshot()
    idle: List[IdleWindow] = []
    windows: List[TimedWindow] = []
    power.start()
    try:
        if power.absence is None:
            on_progress("idle before", 0.0)
            idle.append(_idle(clock, schedule, "before"))
        on_progress("warming up", 0.0)
        conditions.start()
        try:
            start_s = clock.now_s()
            warmup = _warm_up(engine, clock, schedule, conditions)
            warmup_s = clock.now_s() - start_s
            for index in range(schedule.windows):
                on_progress("measuring", (index + 1) / steps)
                windows.append(_time_window(engine, clock, schedule.window_s))
        finally:
            seen = conditions.stop()
        if power.absence is None:
            on_progress("idle after", schedule.windows / steps)
            idle.append(_idle(clock, schedule, "after"))
    finally:
        trace = power.stop()
    after = conditions.snapshot()
    warnings = _warnings(schedule, warmup)
    if trace.invalid is not None:
        warnings.append("power and energy are unknown: " + trace.invalid)
    elif power.caveat is not None:
        warnings.append(power.caveat)
    if before["power_mode"] != after["power_mode"]:
        warnings.append("the power mode was changed during the run")
    return Run(warmup_s, warmup.settled_s, windows, idle, trace, seen, before, after, warnings)


def _warnings(schedule: Schedule, warmup: _Warmup) -> List[str]:
    limits = {
        "latency": "{:.0%}".format(_FLAT_SHARE),
        "the GPU clock": "{:.0%}".format(_FLAT_CLOCK),
        "temperature": "{:g} °C".format(_FLAT_C),
    }
    form = "{} was still moving by more than {} after {:g} s of warm-up"
    return [form.format(what, limits[what], schedule.warmup_max_s) for what in warmup.moving]


def _idle(clock: Clock, schedule: Schedule, when: str) -> IdleWindow:
    clock.sleep(schedule.rest_s)
    start_s = clock.now_s()
    clock.sleep(schedule.idle_s)
    return IdleWindow(when, start_s, clock.now_s())


def _warm_up(engine: Engine, clock: Clock, schedule: Schedule, conditions: Conditions) -> _Warmup:
    """Run until all that is known is flat, or for the longest time. A longest of 0 s means not at all."""
    start_s = clock.now_s()
    if schedule.warmup_max_s == 0:
        return _Warmup(start_s, [])
    block_s = max(schedule.warmup_min_s, schedule.warmup_max_s / 10) / _FLAT_BLOCKS
    blocks: List[_Block] = []
    while True:
        window = _time_window(engine, clock, block_s)
        now = conditions.read()
        median_s = quantile(sorted(window.latencies_s), 0.5)
        blocks.append(_Block(window.start_s, median_s, now.gpu_mhz, now.temperature_c))
        latest = blocks[-_FLAT_BLOCKS:]
        moving = _moving(latest)
        elapsed_s = window.end_s - start_s
        if len(latest) == _FLAT_BLOCKS and not moving and elapsed_s >= schedule.warmup_min_s:
            return _Warmup(latest[0].start_s, [])
        if elapsed_s >= schedule.warmup_max_s:
            return _Warmup(window.end_s, moving or (["latency"] if len(latest) < _FLAT_BLOCKS else []))


def _moving(blocks: List[_Block]) -> List[str]:
    """What is not flat over these blocks. What is not known of all of them is left out."""
    latencies = [block.median_s for block in blocks]
    clocks = [block.gpu_mhz for block in blocks if block.gpu_mhz is not None]
    degrees = [block.temperature_c for block in blocks if block.temperature_c is not None]
    moving = []
    if max(latencies) - min(latencies) > _FLAT_SHARE * max(latencies):
        moving.append("latency")
    if len(clocks) == len(blocks) and max(clocks) - min(clocks) > _FLAT_CLOCK * max(clocks):
        moving.append("the GPU clock")
    if len(degrees) == len(blocks) and max(degrees) - min(degrees) > _FLAT_C:
        moving.append("temperature")
    return moving


def _time_window(engine: Engine, clock: Clock, duration_s: float) -> TimedWindow:
    latencies_s = array("d")  # a long window may hold millions
    start_s = last_s = clock.now_s()
    while last_s - start_s < duration_s:
        engine.run()
        now_s = clock.now_s()
        latencies_s.append(now_s - last_s)
        last_s = now_s
    return TimedWindow(start_s, last_s, latencies_s)
