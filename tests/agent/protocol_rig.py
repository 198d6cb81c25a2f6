"""A whole measurement on fakes, for the tests of the protocol."""

from edgesynth_agent.clock import FakeClock
from edgesynth_agent.conditions import FakeConditions
from edgesynth_agent.document import EngineFacts
from edgesynth_agent.engines import FakeEngine
from edgesynth_agent.measure import measure
from edgesynth_agent.power import AbsentPower, FakePower
from edgesynth_agent.protocol import Schedule
from edgesynth_agent.run_trace import RunTrace

from tests.agent.schemas import Record

__all__ = ["QUICK", "REPORTED", "SCREENING", "START_S", "Rig"]

SCREENING = Schedule(warmup_min_s=1.0, warmup_max_s=5.0, windows=5, window_s=2.0)
QUICK = SCREENING._replace(window_s=10.0)
REPORTED = SCREENING._replace(window_s=60.0)
START_S = 1000.0


class Rig:
    """A measurement on fakes. `power_w(time_s)` holds while inferences run, and `idle_w` otherwise."""

    def __init__(self, schedule=SCREENING, latencies_s=(0.05,), processor="gpu"):
        self.schedule = schedule
        self.clock = FakeClock(START_S)
        self.engine = FakeEngine(self.clock, latencies_s, processor=processor)
        self.engine.prepare(1, 0)
        self.busy = []
        run = self.engine.run

        def watched():
            begin_s = self.clock.now_s()
            run()
            self.busy = [self.busy[0] if self.busy else begin_s, self.clock.now_s()]

        self.engine.run = watched

    def measure(self, power_w=None, idle_w=3.0, conditions=None, period_s=0.0093):
        def at(time_s):
            return power_w(time_s) if self.busy[0] <= time_s <= self.busy[1] else idle_w

        power = AbsentPower("there is none") if power_w is None else FakePower(self.clock, at, period_s)
        self.told = []
        run = measure(
            self.engine, self.clock, power, self.schedule, lambda stage, share: self.told.append(stage), conditions
        )
        facts = EngineFacts.of(self.engine)
        self.trace = RunTrace("host", {"hostname": "x"}, facts, 1, 0, self.schedule, run)
        return Record.of(self.trace.document())

    def steady(self):
        return FakeConditions(self.clock, lambda _: 1300.5)
