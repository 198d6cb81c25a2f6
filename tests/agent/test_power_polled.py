"""Reading a sensor again and again: how often it is new, at which instants, and what failures do."""

import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import edgesynth_agent
import pytest
from edgesynth_agent.clock import FakeClock
from edgesynth_agent.power import PowerSample
from edgesynth_agent.power.polled import PolledPower, Sensor, polling_intervals_s

from tests.agent.fake_sysfs import FakeSysfs
from tests.agent.running import until


class SlowClockSensor(Sensor):
    """Has a new value every `update_s` of a fake clock; a reading takes `cost_s` of it. Each `fail`th reading fails."""

    name = "made up"
    most_w = 100.0

    def __init__(self, clock, update_s, cost_s=0.001, fail=None):
        self.clock = clock
        self.update_s = update_s
        self.cost_s = cost_s
        self.fail = fail
        self.count = 0

    def open(self):
        pass

    def read(self):
        self.count += 1
        self.clock.advance(self.cost_s)
        if self.fail and self.count % self.fail == 0:
            raise OSError("no answer")
        return (int(self.clock.now_s() / self.update_s),)

    def close(self):
        pass

    def samples(self, readings, update_period_s):
        return [PowerSample(time_s, 5.0 + raw[0] % 3) for time_s, raw in readings]

    def facts(self):
        return {}


def run(sensor, clock, readings=1000):
    """Poll a sensor so often, in no real time; the trace, the pauses, and the facts."""
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        clock.advance(seconds)
        if len(pauses) > readings:
            time.sleep(0.001)

    source = PolledPower(sensor, clock, sleep)
    source.prepare()
    sensor.count = 0
    source.start()
    until(lambda: len(pauses) > readings)
    return source.stop(), pauses, source.facts()


class TestProbe:
    @pytest.mark.parametrize("update_s", [0.005, 0.1, 0.422])
    def test_sees_how_often_a_sensor_is_new(self, update_s):
        clock = FakeClock()
        trace, _, facts = run(SlowClockSensor(clock, update_s), clock)
        assert trace.update_period_s == pytest.approx(update_s, rel=0.02)
        assert facts["update_period_s"] == trace.update_period_s
        length_s = trace.samples[-1].time_s - trace.samples[0].time_s
        assert len(trace.samples) <= length_s / max(update_s, 0.01) * 1.1 + 2
        assert facts["samples"] == len(trace.samples)

    def test_of_a_sensor_that_is_always_new_sees_the_time_of_a_reading(self):
        clock = FakeClock()
        trace, _, facts = run(SlowClockSensor(clock, update_s=1e-6, cost_s=0.002), clock)
        assert trace.update_period_s == pytest.approx(0.002)
        assert len(trace.samples) == facts["readings"] > 1000

    def test_ends_also_where_nothing_changes(self):
        clock = FakeClock()
        PolledPower(SlowClockSensor(clock, update_s=1e9), clock).prepare()
        assert 2.0 <= clock.now_s() < 2.1


class TestInstants:
    def test_a_reading_is_stamped_in_the_middle_of_it(self):
        clock = FakeClock(50.0)
        paused = threading.Event()
        source = PolledPower(
            SlowClockSensor(clock, 1e-6, cost_s=0.004), clock, lambda _: paused.set() or time.sleep(0.01)
        )
        source.start()
        assert paused.wait(20)
        assert source.stop().samples[0].time_s == pytest.approx(50.002)

    def test_the_mean_pause_is_the_period(self):
        intervals = list(itertools.islice(polling_intervals_s(0.01, even=False, chance=random.Random(0)), 10000))
        assert sum(intervals) == pytest.approx(100.0, rel=0.01)
        assert 0.005 <= min(intervals) < 0.0051
        assert 0.0149 < max(intervals) <= 0.015
        assert set(itertools.islice(polling_intervals_s(0.1, even=True), 100)) == {0.1}

    def test_a_sensor_slower_than_its_period_still_gets_a_pause(self):
        clock = FakeClock()
        _, pauses, _ = run(SlowClockSensor(clock, update_s=1e-6, cost_s=0.05), clock, readings=200)
        assert min(pauses) == pytest.approx(0.0025)


class TestFailures:
    def test_a_few_are_counted_and_passed_over(self):
        clock = FakeClock()
        trace, _, facts = run(SlowClockSensor(clock, update_s=1e-6, fail=20), clock)
        assert trace.invalid is None
        assert trace.update_period_s == pytest.approx(0.001, rel=0.1)
        assert facts["failed"] >= 50
        assert facts["readings"] >= 19 * facts["failed"]

    def test_many_make_the_trace_invalid(self):
        clock = FakeClock()
        trace, _, _ = run(SlowClockSensor(clock, update_s=1e-6, fail=3), clock)
        assert "readings failed: no answer" in trace.invalid


WATCH = """
import json, sys, time
from edgesynth_agent.clock import MonotonicClock
from edgesynth_agent.energy import window_energy
from edgesynth_agent.power import find_power_source, write_trace, ReplayPower
clock = MonotonicClock()
source = find_power_source(clock, sys.argv[1])
source.prepare()
source.start()
time.sleep(1.2)
trace = source.stop()
end_s = trace.samples[-1].time_s
energy = window_energy(trace, end_s - 1.0, end_s)
write_trace(sys.argv[1] + "/trace.gz", trace, source.facts())
ReplayPower(clock, sys.argv[1] + "/trace.gz")
print(json.dumps({"invalid": trace.invalid, "energy": energy._asdict(), "facts": source.facts()}))
"""


def test_a_process_of_its_own_measures(tmp_path):
    fake = FakeSysfs(tmp_path)
    folder = fake.iio("0-0041", 1, [("VDD_IN", 19064, 160)])
    process = subprocess.Popen(
        [sys.executable, "-c", WATCH, str(tmp_path)],
        env={"PYTHONPATH": str(Path(edgesynth_agent.__file__).parent.parent), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
    )
    for turn in itertools.count():
        if process.poll() is not None:
            break
        fake.rewrite(f"{folder}/ui_input_0", f"19064 {160 + turn % 2}")
        time.sleep(0.004)
    with process:
        seen = json.loads(process.stdout.read())
    assert seen["invalid"] is None
    assert seen["facts"]["sensor"] == "ina3221"
    assert seen["facts"]["update_period_s"] > 0
    # On a busy machine the thread may be held up for so long that there is no figure, but there is no other figure.
    energy_j = seen["energy"]["energy_j"]
    assert seen["energy"]["reason"] if energy_j is None else 19.064 * 0.160 <= energy_j <= 19.064 * 0.161
