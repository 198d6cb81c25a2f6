"""The rules of docs/measuring.md, each on a fake clock: tiers, idle power, throttling, warm-up, pooling."""

import math
import random
import statistics

import pytest
from edgesynth_agent.conditions import FakeConditions, NoConditions
from scipy import stats as scipy_stats

from tests.agent.protocol_rig import QUICK, REPORTED, SCREENING, START_S, Rig


class TestTiers:
    @pytest.mark.parametrize(
        ("schedule", "tier"),
        [
            (SCREENING, "screening"),
            (QUICK, "quick"),
            (QUICK._replace(windows=4), "screening"),
            (QUICK._replace(window_s=9.99), "screening"),
            (REPORTED, "reported"),
            (REPORTED._replace(windows=2), "reported"),
        ],
    )
    def test_windows_make_the_tier(self, schedule, tier):
        assert schedule.tier == tier

    def test_the_longest_time_has_the_idle_windows_in_it(self):
        assert pytest.approx(5 + 5 * 10 + 2 * (10 + 1)) == QUICK.longest_s
        assert REPORTED.idle_s == 10.0

    @pytest.mark.parametrize("schedule", [SCREENING, QUICK, REPORTED])
    def test_it_is_in_the_record(self, schedule):
        record = Rig(schedule).measure(lambda _: 8.0, conditions=None)
        assert record.tier == schedule.tier
        assert all(window.duration_s >= schedule.window_s for window in record.windows)

    def odd_window(self, schedule):
        """All windows at 8 W, and the last one at 10 W."""
        rig = Rig(schedule, processor="cpu")
        rig.measure(lambda _: 8.0)
        last = rig.trace.run.windows[-1]
        rig = Rig(schedule, processor="cpu")
        return rig.measure(lambda time_s: 10.0 if time_s >= last.start_s else 8.0)

    def test_quick_is_the_median_of_the_windows(self):
        record = self.odd_window(QUICK)
        assert record.statistic == "median"
        assert record.energy_mj == pytest.approx(8.0 * 50, rel=1e-3)
        assert record.power_w == pytest.approx(8.0, rel=1e-3)
        assert record.inferences_per_joule == pytest.approx(1e3 / record.energy_mj)

    def test_reported_is_all_windows_together(self):
        record = self.odd_window(REPORTED)
        assert record.statistic == "pooled"
        assert record.energy_mj == pytest.approx(8.4 * 50, rel=1e-3)
        assert record.power_w == pytest.approx(8.4, rel=1e-3)

    def test_the_interval_is_students_over_the_means_of_the_windows(self):
        record = self.odd_window(QUICK)
        each = [1e3 * window.energy_j / window.inferences for window in record.windows]
        half = 2.776 * statistics.stdev(each) / math.sqrt(5)
        assert record.ci95["energy_mj"] == pytest.approx((statistics.mean(each) - half, statistics.mean(each) + half))
        exact = scipy_stats.t.interval(0.95, 4, loc=statistics.mean(each), scale=scipy_stats.sem(each))
        assert record.ci95["energy_mj"] == pytest.approx(exact, rel=1e-3)


class TestIdle:
    def test_idle_power_is_taken_before_and_after_and_subtracted_beside(self):
        rig = Rig()
        record = rig.measure(lambda _: 8.0, conditions=rig.steady())
        assert [idle.when for idle in record.idle] == ["before", "after"]
        assert [idle.power_w for idle in record.idle] == pytest.approx([3.0, 3.0], rel=1e-2)
        assert record.idle_power_w == pytest.approx(3.0, rel=1e-2)
        assert record.energy_mj == pytest.approx(400.0, rel=1e-3)
        assert record.dynamic_energy_mj == pytest.approx(250.0, rel=1e-2)
        assert rig.told == ["idle before", "warming up", *["measuring"] * 5, "idle after"]
        assert record.warnings == []

    def test_it_gates_nothing(self):
        rig = Rig()
        record = rig.measure(lambda _: 8.0, idle_w=9.0, conditions=rig.steady())
        assert record.dynamic_energy_mj < 0
        assert record.energy_mj == pytest.approx(400.0, rel=1e-3)
        assert record.warnings == []

    def test_nothing_runs_in_an_idle_window(self):
        rig = Rig()
        rig.measure(lambda _: 8.0)
        before, after = rig.trace.run.idle
        assert before.end_s <= rig.busy[0]
        assert after.start_s >= rig.busy[1] + rig.schedule.rest_s
        assert before.start_s >= START_S + rig.schedule.rest_s

    def test_without_a_sensor_nobody_waits(self):
        rig = Rig(REPORTED)
        record = rig.measure()
        assert record.idle == []
        assert record.idle_power_w is record.dynamic_energy_mj is None
        assert "idle before" not in rig.told

    def test_one_unknown_idle_window_leaves_the_other(self):
        rig = Rig()
        rig.measure(lambda _: 8.0)
        run = rig.trace.run
        late = run.idle[1].start_s
        power = run.power._replace(samples=[each for each in run.power.samples if each.time_s < late])
        document = rig.trace._replace(run=run._replace(power=power)).document()
        assert document["idle"][1]["reason"].startswith("only ")
        assert document["idle_power_w"] == pytest.approx(3.0, rel=1e-2)


class TestThrottling:
    def record(self, falls, processor="gpu", schedule=SCREENING, by=0.9):
        """With the clock lower in the middle of the windows that are in `falls`."""
        rig = Rig(schedule, processor=processor)
        rig.measure(lambda _: 8.0)
        windows = rig.trace.run.windows
        middles = [(windows[index].start_s + windows[index].end_s) / 2 for index in falls]
        rig = Rig(schedule, processor=processor)
        low = FakeConditions(
            rig.clock, lambda time_s: 1300.5 * (by if any(abs(time_s - middle) < 0.3 for middle in middles) else 1.0)
        )
        return rig.measure(lambda time_s: 8.0, conditions=low)

    def test_a_window_in_which_the_gpu_clock_fell_does_not_count(self):
        record = self.record([1])
        assert [window.invalid is None for window in record.windows] == [True, False, True, True, True]
        assert "fell from 1300.5 MHz to 1170.45 MHz" in record.windows[1].invalid
        assert record.latency_ms is not None
        assert record.energy_mj == pytest.approx(400.0, rel=1e-3)
        (warning,) = record.warnings
        assert warning.startswith("window 2 of 5 does not count: the GPU clock fell")
        assert record.conditions["gpu_mhz"] == {"settled": 1300.5, "lowest": 1170.45, "highest": 1300.5}

    def test_its_energy_is_in_no_figure(self):
        hot = self.record([1])
        kept = [window for window in hot.windows if window.invalid is None]
        assert hot.ci95["energy_mj"] == pytest.approx(
            scipy_stats.t.interval(
                0.95,
                3,
                loc=statistics.mean(1e3 * window.energy_j / window.inferences for window in kept),
                scale=scipy_stats.sem([1e3 * window.energy_j / window.inferences for window in kept]),
            ),
            rel=1e-3,
        )

    @pytest.mark.parametrize("falls", [[0, 1, 2], [0, 1, 2, 3, 4]])
    def test_where_half_of_the_windows_fall_there_is_no_figure_at_all(self, falls):
        record = self.record(falls)
        assert record.latency_ms is record.energy_mj is record.power_w is record.inferences_per_joule is None
        assert set(record.ci95.values()) == {None}
        assert record.warnings[-1].startswith(f"INVALID: only {5 - len(falls)} of 5 windows count")

    def test_one_good_window_of_two_is_none(self):
        record = self.record([1], schedule=SCREENING._replace(windows=2))
        assert record.latency_ms is None

    def test_a_step_of_reading_noise_is_no_fall(self):
        assert self.record([0, 1, 2], by=0.985).warnings == []

    def test_a_processor_does_not_care_for_the_clock_of_the_gpu(self):
        record = self.record([0, 1, 2, 3, 4], processor="cpu")
        assert record.warnings == []
        assert record.energy_mj is not None

    def test_a_clock_that_cannot_be_read_is_told(self):
        record = Rig().measure(lambda _: 8.0)
        assert record.warnings == [
            "the GPU clock is not known in 5 of 5 windows, so throttling there would have gone unseen"
        ]
        assert record.energy_mj is not None
        assert record.conditions["gpu_mhz"] is None

    def test_without_a_warm_up_the_first_clock_counts(self):
        schedule = SCREENING._replace(warmup_min_s=0, warmup_max_s=0)
        record = self.record([3], schedule=schedule)
        assert [window.invalid is None for window in record.windows] == [True, True, True, False, True]


class TestWarmup:
    SLOW = SCREENING._replace(warmup_max_s=60.0)

    def test_goes_on_until_temperature_is_flat(self):
        rig = Rig(self.SLOW)
        rising = FakeConditions(rig.clock, lambda _: 1300.5, lambda time_s: min(70.0, 40.0 + (time_s - START_S)))
        record = rig.measure(lambda _: 8.0, conditions=rising)
        assert rig.trace.run.warmup_s > 25
        assert record.warnings == []
        assert record.conditions["temperature_c"]["highest"] == 70.0

    def test_goes_on_until_the_gpu_clock_is_flat(self):
        rig = Rig(self.SLOW)
        ramp = FakeConditions(rig.clock, lambda time_s: min(1300.5, 100.0 + 50 * (time_s - START_S)))
        record = rig.measure(lambda _: 8.0, conditions=ramp)
        assert rig.trace.run.warmup_s > 24
        assert record.conditions["gpu_mhz"]["settled"] == 1300.5
        assert record.warnings == []

    @pytest.mark.parametrize("what", ["temperature", "the GPU clock"])
    def test_what_never_was_flat_is_told(self, what):
        rig = Rig(self.SLOW)
        moving = FakeConditions(
            rig.clock,
            lambda time_s: 1300.5 if what == "temperature" else 100 + 20 * (time_s - START_S),
            lambda time_s: time_s - START_S if what == "temperature" else 50.0,
        )
        record = rig.measure(lambda _: 8.0, conditions=moving)
        assert rig.trace.run.warmup_s == pytest.approx(60, abs=3)
        assert record.warnings == [
            f"{what} was still moving by more than {'1 °C' if what == 'temperature' else '2%'} after 60 s of warm-up"
        ]

    def test_the_power_mode_is_recorded_before_and_after(self):
        rig = Rig()
        record = rig.measure(lambda _: 8.0, conditions=rig.steady())
        for when in ("before", "after"):
            assert record.conditions[when]["power_mode"] == {"id": 0, "name": "MAXN"}
            assert record.conditions[when]["clocks_mhz"] == {"gpu": 1300.5}
            assert record.conditions[when]["temperatures_c"] == {"GPU-therm": 50.0}

    def test_a_power_mode_that_was_changed_is_told(self):
        rig = Rig()
        steady = rig.steady()
        modes = iter([{"id": 0, "name": "MAXN"}, {"id": 3, "name": "MAXP_CORE_ARM"}])
        snapshot = steady.snapshot
        steady.snapshot = lambda: {**snapshot(), "power_mode": next(modes)}
        assert rig.measure(lambda _: 8.0, conditions=steady).warnings == ["the power mode was changed during the run"]

    def test_a_machine_that_tells_nothing_is_unknown_with_a_reason(self):
        rig = Rig(processor="cpu")
        record = rig.measure(lambda _: 8.0, conditions=NoConditions(rig.clock))
        assert record.conditions["before"]["power_mode"] is None
        assert record.conditions["before"]["reasons"]["power_mode"]
        assert record.conditions["temperature_c"] is None


class TestUncertainWindows:
    def record(self, spread, seed=0):
        """Power that fluctuates so much from sample to sample, as a share of it."""
        chance = random.Random(seed)
        return Rig(QUICK, processor="cpu").measure(lambda _: 8.0 * (1 + chance.uniform(-spread, spread)))

    def test_single_windows_that_are_known_well_give_the_median(self):
        record = self.record(0.02)
        assert record.statistic == "median"
        assert all(window.error_j <= 0.005 * window.energy_j for window in record.windows)
        assert record.warnings == []

    @pytest.mark.parametrize("seed", range(5))
    def test_windows_that_are_known_badly_are_judged_together(self, seed):
        record = self.record(0.2, seed)
        errors = [window.error_j for window in record.windows]
        joules = [window.energy_j for window in record.windows]
        assert max(error / energy for error, energy in zip(errors, joules)) > 0.005
        assert record.statistic == "pooled"
        inferences = sum(window.inferences for window in record.windows)
        assert record.energy_mj == pytest.approx(1e3 * sum(joules) / inferences)
        together = math.sqrt(sum(error**2 for error in errors)) / sum(joules)
        assert together <= 0.005
        assert abs(record.energy_mj / 400.0 - 1) <= 2 * together
        (warning,) = record.warnings
        assert "so power and energy are those of all windows together" in warning

    def test_beyond_that_energy_is_unknown(self):
        record = self.record(0.9)
        assert record.energy_mj is record.power_w is record.statistic is None
        assert any("over all windows together; ask for longer windows" in warning for warning in record.warnings)
        assert record.latency_ms is not None
