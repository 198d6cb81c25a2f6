"""What is new in a row of readings, and whether a sensor can be believed."""

import math

import pytest
from edgesynth_agent.power.base import PowerSample
from edgesynth_agent.power.readings import Reading, make_trace, new_readings, update_period_s
from hypothesis import given
from hypothesis import strategies as st


def readings(values, step_s=0.01):
    return [Reading(index * step_s, (value,)) for index, value in enumerate(values)]


def trace(values, step_s=0.01, failed=(), probed_s=None, most_w=100.0):
    def to_samples(new, period_s):
        return [PowerSample(time_s, float(raw[0])) for time_s, raw in new]

    return make_trace(readings(values, step_s), failed, probed_s, to_samples, most_w, averages=False)


class TestUpdatePeriod:
    def test_of_a_staircase_is_the_width_of_a_step(self):
        assert update_period_s(readings([index // 42 for index in range(1000)])) == pytest.approx(0.42)

    def test_of_a_sensor_that_is_new_at_each_reading_is_that_of_reading(self):
        assert update_period_s(readings(range(100))) == pytest.approx(0.01)

    @pytest.mark.parametrize("values", [[], [1], [1, 1, 1, 1], [1, 1, 2, 2, 3, 3]])
    def test_of_few_changes_is_unknown(self, values):
        assert update_period_s(readings(values)) is None

    @given(st.lists(st.integers(0, 3), max_size=60))
    def test_is_never_less_than_that_of_reading(self, values):
        period_s = update_period_s(readings(values))
        assert period_s is None or period_s >= 0.01 - 1e-12


class TestNewReadings:
    def test_the_same_again_is_not_new_until_an_update_later(self):
        new = new_readings(readings([5] * 10 + [6] * 10), period_s=0.039)
        assert [round(time_s, 3) for time_s, _ in new] == [0.0, 0.04, 0.08, 0.1, 0.14, 0.18]

    def test_of_an_unknown_period_only_changes_are_new(self):
        assert [raw for _, raw in new_readings(readings([5, 5, 5, 6, 6, 5]), None)] == [(5,), (6,), (5,)]

    def test_a_sensor_faster_than_its_reader_is_new_each_time(self):
        assert len(new_readings(readings([5] * 100), period_s=0.002)) == 100

    def test_a_sensor_as_fast_as_its_reader_is_new_each_time(self):
        assert len(new_readings(readings([5, 5, 6, 6, 6, 5], step_s=0.053), period_s=0.0531)) == 6

    @given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3)), max_size=60), st.none() | st.floats(0, 1))
    def test_times_ascend_and_no_change_is_lost(self, pairs, period_s):
        row = [Reading(1e-2 * time, (value,)) for time, value in sorted(pairs)]
        new = new_readings(row, period_s)
        times = [time_s for time_s, _ in new]
        assert times == sorted(set(times))
        assert set(new) <= set(row)
        assert {raw for _, raw in new} <= {raw for _, raw in row}
        if len({time_s for time_s, _ in row}) == len(row):
            changes = [b for a, b in zip(row, row[1:]) if a.raw != b.raw]
            assert set(changes) <= set(new)


class TestTrust:
    ALIVE = tuple(5.0 + 0.01 * (index % 3) for index in range(2000))

    def test_a_live_sensor_is_trusted(self):
        good = trace(self.ALIVE)
        assert good.invalid is None
        assert len(good.samples) == 2000

    def test_a_sensor_that_never_changes_is_stuck(self):
        assert "stuck: 2000 readings over 20.0 s" in trace([5.0] * 2000).invalid

    def test_one_that_changed_before_and_never_in_a_short_trace_is_stuck(self):
        assert "stuck: 60 readings over 0.6 s" in trace([5.0] * 60, probed_s=0.01).invalid
        assert trace([5.0] * 59 + [5.1], probed_s=0.01).invalid is None
        assert trace([5.0] * 60, probed_s=0.1).invalid is None

    def test_a_sensor_that_stops_changing_is_stuck(self):
        assert "stuck" in trace([*self.ALIVE, *[5.5] * 1100, *self.ALIVE], probed_s=0.01).invalid

    def test_a_slow_sensor_is_not_stuck_between_its_updates(self):
        assert trace([5.0 + index // 200 for index in range(4000)], probed_s=2.0).invalid is None

    def test_what_is_short_is_not_judged(self):
        assert trace([5.0] * 500).invalid is None

    @pytest.mark.parametrize("wrong", [0.0, -0.392, 101.0, 1e300, math.inf, -math.inf, math.nan])
    def test_one_impossible_power_is_enough(self, wrong):
        invalid = trace([*self.ALIVE, wrong, *self.ALIVE]).invalid
        assert "implausible: 1 of 4001 samples" in invalid

    def test_a_few_failed_readings_do_no_harm_many_do(self):
        assert trace(self.ALIVE, failed=["no answer"] * 20).invalid is None
        assert "500 of 2500 readings failed: no answer" in trace(self.ALIVE, failed=["no answer"] * 500).invalid

    def test_no_reading_at_all(self):
        assert "No such device" in trace([], failed=["No such device"]).invalid
        assert trace([]).invalid

    def test_what_is_no_number_is_told(self):
        assert "cannot be used: could not convert" in trace(["5.0", "five"]).invalid

    def test_the_faster_of_both_rates_is_the_sensors(self):
        assert trace(self.ALIVE, probed_s=0.002).update_period_s == 0.002
        assert trace(self.ALIVE, probed_s=0.5).update_period_s == pytest.approx(0.01)
        assert trace([5.0, 5.0]).update_period_s is None
