"""Joules from samples: exact where the sensor is fast enough, and no figure at all where it is not."""

import itertools
import math
import random
from typing import ClassVar

import pytest
from edgesynth_agent.energy import LIMIT, in_step, integrate_j, integration_error_j, window_energy
from edgesynth_agent.power import PowerSample, PowerTrace
from edgesynth_agent.power.polled import polling_intervals_s
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.power_curves import CURVES, SENSORS, SeenBy, watch

START_S = 5.3


def measured(curve_name, seen, window_s, seed=0):
    """What a window says, and the share by which its energy is off."""
    curve = CURVES[curve_name]
    end_s = START_S + window_s
    trace = watch(curve, seen, end_s + 3.0, seed)
    energy = window_energy(trace, START_S, end_s, curve.beginnings(START_S, end_s))
    true_j = curve.energy_j(START_S, end_s)
    return energy, None if energy.energy_j is None else energy.energy_j / true_j - 1


class TestCurves:
    """Every curve by every sensor: right to 0.5 %, or INVALID with a reason."""

    # What a sensor can do in 10 and in 60 seconds. A rate that is not here does not allow it.
    TELLS: ClassVar = {
        ("100 Hz", 10): {"constant", "ramp", "steep ramp"},
        ("100 Hz", 60): set(CURVES) - {"high square of 100 ms", "square of 3 ms", "spikes of 5 ms"},
        ("means of 422 ms", 10): set(),
        ("means of 422 ms", 60): set(CURVES),
        ("tegrastats, 53 ms", 10): {"constant", "ramp", "steep ramp"},
        ("tegrastats, 53 ms", 60): {"constant", "ramp", "steep ramp"},
        ("tegrastats, 1 s", 10): set(),
        ("tegrastats, 1 s", 60): {"constant", "ramp", "steep ramp"},
    }

    # At 100 Hz and 10 s, the noise decides.
    BORDER = ("square of 100 ms", "square of 100 ms, 37 %")

    @pytest.mark.parametrize("window_s", [10, 60])
    @pytest.mark.parametrize("sensor", SENSORS)
    @pytest.mark.parametrize("curve", CURVES)
    def test_right_or_invalid(self, curve, sensor, window_s):
        energy, off = measured(curve, SENSORS[sensor], window_s)
        if curve in self.TELLS[sensor, window_s]:
            assert energy.reason is None
            assert abs(off) <= LIMIT
        elif (sensor, window_s) != ("100 Hz", 10) or curve not in self.BORDER:
            assert energy.energy_j is None
            assert energy.reason

    @pytest.mark.parametrize("name", BORDER)
    def test_the_interval_is_that_of_the_error(self, name):
        """On the border it decides what is a figure. One window in twenty may be off by more."""
        curve, seen = CURVES[name], SENSORS["100 Hz"]
        offs = []
        for seed in range(40):
            trace = watch(curve, seen, 18.0, seed)
            energy = window_energy(trace, START_S, START_S + 10, curve.beginnings(START_S, START_S + 10), limit=1.0)
            offs.append((energy.energy_j - curve.energy_j(START_S, START_S + 10)) / energy.error_j)
        assert sum(abs(off) > 1 for off in offs) <= 6
        assert max(abs(off) for off in offs) > 0.5  # nor is it much too wide


class TestFaults:
    def test_a_jittered_clock(self):
        energy, off = measured("square of 100 ms", SENSORS["100 Hz"]._replace(time_noise_s=0.002), 60)
        assert energy.reason is None
        assert abs(off) <= LIMIT

    def test_repeated_values_are_one_value(self):
        """A sensor with five new values a second, read a hundred times a second, has five samples a second."""
        slow = SeenBy(0.01, update_s=0.2, even=True, probed_s=0.2)
        energy, off = measured("ramp", slow, 60)
        assert 60 / 0.2 - 2 <= energy.samples <= 60 / 0.2 + 2
        assert abs(off) <= LIMIT
        energy, _ = measured("constant", slow, 8)
        assert "only 40 power samples" in energy.reason or "only 39 power samples" in energy.reason

    def test_a_short_drop_out_in_steady_power_costs_little(self):
        energy, off = measured("constant", SENSORS["100 Hz"]._replace(silent=(8.0, 8.3)), 10)
        assert energy.reason is None
        assert abs(off) <= LIMIT

    @pytest.mark.parametrize("curve", CURVES)
    @pytest.mark.parametrize("silent", [(8.0, 10.0), (0.0, 7.0), (13.0, 30.0)], ids=["middle", "start", "end"])
    def test_a_long_drop_out_is_invalid(self, curve, silent):
        energy, _ = measured(curve, SENSORS["100 Hz"]._replace(silent=silent), 10)
        assert energy.energy_j is None
        assert "the sensor said nothing for" in energy.reason

    def test_many_drop_outs_in_uneven_power_are_invalid(self):
        trace = watch(CURVES["steep ramp"], SENSORS["100 Hz"], 20.0)
        kept = [sample for sample in trace.samples if sample.time_s % 2.0 > 0.09]
        assert window_energy(trace, START_S, START_S + 10).reason is None
        energy = window_energy(trace._replace(samples=kept), START_S, START_S + 10)
        assert energy.energy_j is None

    def test_an_invalid_trace_has_no_energy_whatever_its_samples(self):
        trace = watch(CURVES["constant"], SENSORS["100 Hz"], 20.0)._replace(invalid="the sensor is stuck")
        energy = window_energy(trace, START_S, START_S + 10)
        assert (energy.energy_j, energy.reason) == (None, "the sensor is stuck")
        assert energy.samples > 900

    def test_no_samples_at_all(self):
        energy = window_energy(PowerTrace([]), 0.0, 10.0)
        assert (energy.energy_j, energy.samples) == (None, 0)
        assert "longer windows" in energy.reason


class TestInStep:
    def instants(self, intervals_s, count=2000):
        return list(itertools.accumulate(itertools.islice(intervals_s, count)))

    @pytest.mark.parametrize("load_s", [0.1, 0.05, 0.3, 0.2 / 3])
    def test_even_samples_at_a_multiple_of_the_load_are_found_out(self, load_s):
        times_s = self.instants(polling_intervals_s(0.1, even=True))
        assert in_step(times_s, [index * load_s for index in range(int(200 / load_s))])

    @pytest.mark.parametrize("load_s", [0.0023, 0.01, 0.02, 0.0731, 0.1, 1.0])
    def test_shifting_samples_are_in_step_with_nothing(self, load_s):
        times_s = self.instants(polling_intervals_s(0.01, even=False, chance=random.Random(3)))
        assert not in_step(times_s, [index * load_s for index in range(int(20 / load_s))])

    def test_means_need_not_be_out_of_step(self):
        times_s = self.instants(polling_intervals_s(0.1, even=True), 200)
        samples = [PowerSample(time_s, 5.0 + 0.001 * (index % 2)) for index, time_s in enumerate(times_s)]
        load_s = [index * 0.1 for index in range(210)]
        points, means = PowerTrace(samples), PowerTrace(samples, averages=True)
        assert "in step" in window_energy(points, 1.0, 19.0, load_s).reason
        assert window_energy(means, 1.0, 19.0, load_s).reason is None

    def test_few_samples_say_nothing(self):
        assert not in_step([0.1 * index for index in range(20)], [0.1 * index for index in range(20)])
        assert not in_step([0.1 * index for index in range(100)], [])


TIMES = st.lists(st.integers(0, 10**6), min_size=2, max_size=60, unique=True).map(sorted)
POWERS = st.floats(0.1, 200.0)


@st.composite
def lines(draw):
    times = draw(TIMES)
    powers = draw(st.lists(POWERS, min_size=len(times), max_size=len(times)))
    return [PowerSample(1e-3 * time, power) for time, power in zip(times, powers)]


@st.composite
def windows(draw, count=2):
    return [
        1e-3 * edge for edge in sorted(draw(st.sets(st.integers(-1000, 10**6 + 1000), min_size=count, max_size=count)))
    ]


class TestIntegration:
    def test_trapezoids_with_interpolated_edges(self):
        line = [PowerSample(float(second), 2.0 * second) for second in range(11)]
        assert integrate_j(line, 2.5, 7.5) == pytest.approx(7.5**2 - 2.5**2)

    def test_edges_are_held_where_there_is_nothing_outside(self):
        assert integrate_j([PowerSample(1.0, 3.0), PowerSample(2.0, 5.0)], 0.0, 4.0) == 3.0 + 4.0 + 10.0

    def test_uneven_samples_weigh_by_their_time(self):
        line = [PowerSample(0.0, 1.0), PowerSample(0.1, 1.0), PowerSample(0.2, 1.0), PowerSample(10.0, 1.0)]
        assert integrate_j(line, 0.0, 10.0) == pytest.approx(10.0)

    @given(lines(), windows(3))
    def test_windows_side_by_side_add_up(self, line, edges):
        first, middle, last = edges
        parts = integrate_j(line, first, middle) + integrate_j(line, middle, last)
        assert parts == pytest.approx(integrate_j(line, first, last), rel=1e-9)

    @given(lines(), windows())
    def test_it_lies_between_the_least_and_the_greatest_power(self, line, edges):
        powers = [power_w for _, power_w in line]
        mean_w = integrate_j(line, *edges) / (edges[1] - edges[0])
        assert min(powers) * (1 - 1e-9) <= mean_w <= max(powers) * (1 + 1e-9)

    @given(lines(), windows(), st.floats(0.01, 100.0))
    def test_it_grows_with_power(self, line, edges, factor):
        scaled = [PowerSample(time_s, power_w * factor) for time_s, power_w in line]
        assert integrate_j(scaled, *edges) == pytest.approx(factor * integrate_j(line, *edges), rel=1e-9)

    @given(lines(), windows(), st.integers(-1000, 1000))
    def test_it_does_not_depend_on_when_the_clock_began(self, line, edges, shift_s):
        moved = [PowerSample(time_s + shift_s, power_w) for time_s, power_w in line]
        later = integrate_j(moved, edges[0] + shift_s, edges[1] + shift_s)
        assert later == pytest.approx(integrate_j(line, *edges), rel=1e-6, abs=1e-6)

    @given(lines(), windows(), st.data())
    def test_a_sample_on_the_line_changes_nothing(self, line, edges, data):
        index = data.draw(st.integers(0, len(line) - 2))
        left, right = line[index], line[index + 1]
        middle = PowerSample((left.time_s + right.time_s) / 2, (left.power_w + right.power_w) / 2)
        more = [*line[: index + 1], middle, *line[index + 1 :]]
        assert integrate_j(more, *edges) == pytest.approx(integrate_j(line, *edges), rel=1e-9)


class TestErrorEstimate:
    @given(lines(), st.floats(0.01, 100.0))
    def test_it_is_finite_not_negative_and_grows_with_power(self, line, factor):
        error_j = integration_error_j(line)
        assert 0 <= error_j < math.inf
        scaled = [PowerSample(time_s, power_w * factor) for time_s, power_w in line]
        # Of powers that are nearly alike, what is left of their difference is mostly rounding.
        rounding_j = 1e-14 * max(power_w for _, power_w in scaled) * (line[-1].time_s - line[0].time_s)
        assert integration_error_j(scaled) == pytest.approx(factor * error_j, rel=1e-9, abs=max(1e-12, rounding_j))

    @given(TIMES, POWERS, st.booleans())
    def test_of_constant_power_it_is_zero(self, times, power_w, averages):
        assert integration_error_j([PowerSample(1e-3 * time, power_w) for time in times], averages) == 0

    @pytest.mark.parametrize("share", [0.5, 0.37, 0.1, 0.02])
    def test_of_random_samples_it_is_that_of_their_mean(self, share):
        """Two-valued power sampled at random: 1.96 standard deviations over the root of the number, or a bit more."""
        chance = random.Random(1)
        line = [PowerSample(float(index), float(chance.random() < share)) for index in range(20000)]
        exact_j = 1.96 * math.sqrt(share * (1 - share) * len(line))
        assert exact_j * 0.95 <= integration_error_j(line) <= exact_j * 1.35

    @given(lines(), windows(), st.floats(0.0, 0.1))
    def test_a_window_has_either_energy_or_a_reason(self, line, edges, limit):
        energy = window_energy(PowerTrace(line), *edges, limit=limit)
        assert (energy.energy_j is None) == (energy.reason is not None)
        if energy.energy_j is not None:
            assert energy.error_j <= limit * energy.energy_j
