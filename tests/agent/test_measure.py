"""The protocol and its arithmetic, on a fake clock: no test here depends on how fast a machine is."""

import math

import pytest
from edgesynth_agent.clock import FakeClock
from edgesynth_agent.document import measurement_document
from edgesynth_agent.engines import FakeEngine
from edgesynth_agent.measure import Schedule, measure
from edgesynth_agent.power import AbsentPower, FakePower, PowerTrace
from edgesynth_agent.stats import mean, quantile, t_interval95
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tests.agent.schemas import Record

SCHEDULE = Schedule(warmup_min_s=1.0, warmup_max_s=5.0, windows=3, window_s=2.0)


def run(latencies_s, schedule=SCHEDULE, power_w=None, period_s=0.01):
    """A measurement on fakes: the run, and its document as a record."""
    clock = FakeClock(1000.0)
    engine = FakeEngine(clock, latencies_s)
    engine.prepare(1, 0)
    power = AbsentPower("there is none") if power_w is None else FakePower(clock, power_w, period_s)
    seen = measure(engine, clock, power, schedule, lambda stage, share: None)
    document = measurement_document("host", {}, engine, 1, 0, schedule, seen)
    return seen, Record.of(document)


class BadPower(FakePower):
    def stop(self):
        return super().stop()._replace(invalid="the sensor is stuck")


def record_of(power, clock):
    """The record of a measurement with a power source of its own."""
    engine = FakeEngine(clock, [0.25])
    engine.prepare(1, 0)
    seen = measure(engine, clock, power, SCHEDULE, lambda stage, share: None)
    return Record.of(measurement_document("host", {}, engine, 1, 0, SCHEDULE, seen))


class TestProtocol:
    def test_warms_up_at_least_so_long_and_then_times_the_windows(self):
        seen, _ = run([0.25])
        assert seen.warmup_s >= 1.0
        assert [len(window.latencies_s) for window in seen.windows] == [8, 8, 8]
        assert not [warning for warning in seen.warnings if "warm-up" in warning]

    def test_inferences_are_back_to_back(self):
        seen, _ = run([0.25, 0.5, 0.125])
        for window in seen.windows:
            assert window.end_s - window.start_s >= 2.0
            assert sum(window.latencies_s) == pytest.approx(window.end_s - window.start_s)

    def test_says_so_when_latency_does_not_become_flat(self):
        falling = [1.0 * 0.97**step for step in range(400)]
        seen, record = run(falling)
        assert seen.warmup_s >= 5.0
        assert any("warm-up" in warning for warning in record.warnings)

    def test_one_slow_inference_makes_a_whole_window(self):
        seen, record = run([7.0])
        assert [window.inferences for window in record.windows] == [1, 1, 1]
        assert record.latency_ms.mean == pytest.approx(7000)
        assert seen.warmup_s >= 5.0

    def test_no_warm_up_when_none_is_allowed(self):
        seen, _ = run([0.25], SCHEDULE._replace(warmup_min_s=0, warmup_max_s=0))
        assert seen.warmup_s == 0

    def test_progress_rises_to_less_than_one(self):
        told = []
        clock = FakeClock()
        engine = FakeEngine(clock, [0.5])
        engine.prepare(1, 0)
        measure(engine, clock, AbsentPower("none"), SCHEDULE, lambda stage, share: told.append((stage, share)))
        assert [stage for stage, _ in told] == ["warming up"] + ["measuring"] * 3
        shares = [share for _, share in told]
        assert shares == sorted(shares)
        assert shares[-1] < 1

    def test_the_sensor_is_let_go_when_the_engine_fails(self):
        class Watched(AbsentPower):
            stopped = False

            def stop(self):
                self.stopped = True
                return PowerTrace([])

        class Failing(FakeEngine):
            def run(self):
                raise RuntimeError

        clock = FakeClock()
        power = Watched("none")
        schedule = SCHEDULE._replace(warmup_min_s=0, warmup_max_s=0)
        with pytest.raises(RuntimeError):
            measure(Failing(clock, [1.0]), clock, power, schedule, lambda stage, share: None)
        assert power.stopped


class TestDocument:
    def test_without_a_sensor_energy_is_unknown_with_a_reason(self):
        _, record = run([0.25])
        assert record.source == "measured"
        assert record.power_w is record.energy_mj is record.inferences_per_joule is record.idle_power_w is None
        assert all(window.energy_j is None and window.samples == 0 for window in record.windows)
        assert record.ci95 == {"latency_ms": [250.0, 250.0], "energy_mj": None, "inferences_per_joule": None}
        assert record.warnings == ["power and energy are unknown: there is none"]

    def test_with_a_sensor_joules_are_power_times_time(self):
        _, record = run([0.25], power_w=lambda _: 8.0)
        assert record.power_w == pytest.approx(8.0)
        assert record.energy_mj == pytest.approx(2000.0)
        assert record.inferences_per_joule == pytest.approx(0.5)
        assert record.ci95["energy_mj"] == pytest.approx((2000.0, 2000.0))
        assert not record.warnings

    def test_a_sensor_too_slow_for_the_windows_gives_no_joules(self):
        _, record = run([0.25], power_w=lambda _: 8.0, period_s=3.0)
        assert record.energy_mj is None
        assert any("longer windows" in warning for warning in record.warnings)

    def test_a_sensor_in_step_with_the_inferences_gives_no_joules(self):
        _, record = run([0.25], SCHEDULE._replace(window_s=20), power_w=lambda _: 8.0, period_s=0.25)
        assert record.energy_mj is None
        assert any("window 1 of 3" in warning and "in step with the load" in warning for warning in record.warnings)

    def test_an_invalid_sensor_gives_no_joules_but_latency(self):
        clock = FakeClock(1000.0)
        record = record_of(BadPower(clock, lambda _: 8.0), clock)
        assert record.energy_mj is record.power_w is None
        assert record.latency_ms.mean == pytest.approx(250)
        assert record.warnings == ["power and energy are unknown: the sensor is stuck"]

    def test_what_power_leaves_out_is_told_with_it(self):
        clock = FakeClock(1000.0)
        power = FakePower(clock, lambda _: 8.0)
        power.caveat = "power is that of the processor"
        record = record_of(power, clock)
        assert record.energy_mj == pytest.approx(2000.0)
        assert record.warnings == ["power is that of the processor"]

    def test_the_schedule_is_part_of_the_record(self):
        _, record = run([0.25])
        assert record.engine.flags.items() >= SCHEDULE._asdict().items()

    def test_quantiles_are_over_all_inferences(self):
        _, record = run([0.1] * 9 + [1.1])
        assert record.latency_ms.p50 == pytest.approx(100)
        assert record.latency_ms.p99 == pytest.approx(1100)


class TestStatistics:
    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
    def test_quantile_lies_within_and_is_monotonic(self, values, share):
        ordered = sorted(values)
        assert ordered[0] <= quantile(ordered, share) <= ordered[-1] or math.isclose(ordered[0], ordered[-1])
        assert quantile(ordered, 0) == ordered[0]
        assert quantile(ordered, 1) == ordered[-1]

    @pytest.mark.parametrize("count", [2, 3, 6, 31, 35, 50, 100, 200])
    def test_t_interval_is_students_and_never_narrower(self, count):
        values = [float(index % 7) for index in range(count)]
        low, high = t_interval95(values)
        exact = scipy_stats.t.interval(0.95, count - 1, loc=mean(values), scale=scipy_stats.sem(values))
        assert low <= exact[0] + 1e-3 * (exact[1] - exact[0])
        assert high >= exact[1] - 1e-3 * (exact[1] - exact[0])
        assert high - low <= 1.02 * (exact[1] - exact[0])

    def test_one_value_has_no_interval(self):
        assert t_interval95([1.0]) is None
