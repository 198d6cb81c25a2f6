"""Properties of the latency and energy model, whatever its constants."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesynth.energy.constants import Clocks, calibration_of
from edgesynth.energy.kernels import Kernel, Precision, kernels_of
from edgesynth.energy.model import Load, Timing, energy_of, timing_of
from edgesynth.energy.networks import NetBuilder
from edgesynth.energy.uncertainty import energy_interval_mj, latency_interval_ms

KNOWN = calibration_of("tx2-sim")
assert KNOWN.power is not None
POWER = KNOWN.power
precisions = st.sampled_from(["fp32", "fp16"])
plans = st.lists(st.tuples(st.integers(1, 256), st.sampled_from([1, 3]), st.booleans()), min_size=1, max_size=12)
Plan = list[tuple[int, int, bool]]


def kernels(plan: Plan, size: int = 16, precision: Precision = "fp32") -> list[Kernel]:
    """The kernels of a chain of convolutions: channels, size of the kernel, whether pooling follows."""
    net = NetBuilder("chain", 3, size, size)
    x = "input"
    for channels, kernel, pooled in plan:
        x = net.conv(x, channels, kernel)
        x = net.pool(x, "MaxPool", 3, 1) if pooled else x
    return kernels_of(net.graph(net.head(x, 10)), precision)[0]


def timing(load: Load) -> Timing:
    return timing_of(load, KNOWN.constants)


def energy_mj(load: Load) -> float:
    return energy_of(load, POWER, float(timing(load).latency_ms)).total_mj


@settings(max_examples=60, deadline=None)
@given(plans, precisions, st.data())
def test_more_channels_never_cost_less(plan: Plan, precision: Precision, data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(plan) - 1))
    channels, kernel, pooled = plan[where]
    wider = [*plan[:where], (channels + data.draw(st.integers(1, 64)), kernel, pooled), *plan[where + 1 :]]
    narrow, wide = (Load.of(kernels(p, precision=precision), precision) for p in (plan, wider))
    assert timing(narrow).latency_ms <= timing(wide).latency_ms * (1 + 1e-12)
    assert energy_mj(narrow) < energy_mj(wide)


@settings(max_examples=60, deadline=None)
@given(plans, precisions, st.data())
def test_one_kernel_less_is_faster_and_cheaper(plan: Plan, precision: Precision, data: st.DataObject) -> None:
    found = kernels(plan, precision=precision)
    where = data.draw(st.integers(0, len(found) - 1))
    fewer = Load.of([*found[:where], *found[where + 1 :]], precision)
    assert timing(fewer).latency_ms < timing(Load.of(found, precision)).latency_ms
    assert energy_mj(fewer) < energy_mj(Load.of(found, precision))


@settings(max_examples=60, deadline=None)
@given(plans, precisions)
def test_times_add_up_and_energy_is_at_least_that_of_idling(plan: Plan, precision: Precision) -> None:
    load = Load.of(kernels(plan, precision=precision), precision)
    found = timing(load)
    parts = KNOWN.constants.overhead_ms + found.wait_ms.sum() + found.busy_ms.sum()
    assert found.latency_ms == pytest.approx(parts)
    assert (found.wait_ms >= 0).all()
    assert found.latency_ms >= found.launch_bound_ms
    assert energy_mj(load) >= POWER.idle_power_w * found.latency_ms


@settings(max_examples=60, deadline=None)
@given(plans, precisions)
def test_intervals_hold_the_estimate_and_stay_positive(plan: Plan, precision: Precision) -> None:
    load = Load.of(kernels(plan, precision=precision), precision)
    low_ms, high_ms = latency_interval_ms(load, KNOWN)
    low_mj, high_mj = energy_interval_mj(load, KNOWN, POWER)
    assert 0 < low_ms < timing(load).latency_ms < high_ms < math.inf
    assert 0 < low_mj < energy_mj(load) < high_mj < math.inf


def test_the_pipeline_is_the_one_told_kernel_by_kernel() -> None:
    found_kernels = kernels([(64, 3, True), (8, 1, False), (256, 3, True)], size=32)
    load = Load.of(found_kernels, "fp32")
    found, c = timing(load), KNOWN.constants
    launched_ms = done_ms = 0.0
    for index, (kernel, busy_ms) in enumerate(zip(found_kernels, found.busy_ms, strict=True)):
        launched_ms += (c.pooling_us if kernel.kind == "pooling" else c.launch_us) / 1e3
        assert found.wait_ms[index] == pytest.approx(max(0.0, launched_ms - done_ms))
        done_ms = max(done_ms, launched_ms) + busy_ms
    assert found.latency_ms == pytest.approx(c.overhead_ms + done_ms)


def test_a_sum_costs_more_and_twice_that_where_it_joined_a_convolution() -> None:
    def residual(joined: bool) -> Load:
        net = NetBuilder("residual", 8, 4, 4)
        x = net.pool("input", "MaxPool", 3, 1)
        y = net.conv(x, 8, 3, act=None if joined else "Relu")
        z = y if joined else net.pool(y, "MaxPool", 3, 1)
        return Load.of(kernels_of(net.graph(net.add(x, z)), "fp32")[0], "fp32")

    c = KNOWN.constants
    for load, sums in ((residual(True), 2), (residual(False), 1)):
        assert load.sums.tolist()[-1] == sums
        without = replace(load, sums=0 * load.sums)
        assert timing(load).latency_ms - timing(without).latency_ms == pytest.approx(sums * c.sum_us / 1e3)


@settings(max_examples=30, deadline=None)
@given(st.lists(plans, min_size=1, max_size=4), precisions)
def test_stacked_networks_take_what_each_takes_alone(several: list[Plan], precision: Precision) -> None:
    loads = [Load.of(kernels(plan, precision=precision), precision) for plan in several]
    together = timing(Load.stack(loads)).latency_ms
    assert together == pytest.approx([float(timing(load).latency_ms) for load in loads])


def test_half_precision_computes_faster_and_moves_less() -> None:
    plan = [(256, 3, False)] * 4
    full, half = (Load.of(kernels(plan, 64, p), p) for p in ("fp32", "fp16"))
    assert timing(half).latency_ms < timing(full).latency_ms
    assert (timing(half).memory_ms < timing(full).memory_ms).all()
    assert energy_mj(half) < energy_mj(full)


def test_each_clock_slows_its_own_part() -> None:
    c = KNOWN.constants
    small = Load.of(kernels([(8, 1, False)] * 4, 8), "fp32")
    large = Load.of(kernels([(256, 3, False)] * 4, 64), "fp32")
    slow_gpu = replace(c.clocks, gpu_mhz=c.gpu_clock_mhz / 2)
    assert timing_of(large, c, slow_gpu).arithmetic_ms == pytest.approx(2 * timing(large).arithmetic_ms)
    assert timing_of(small, c, slow_gpu).launch_bound_ms == timing(small).launch_bound_ms
    slow_memory = replace(c.clocks, memory_mhz=c.memory_clock_mhz / 2)
    assert timing_of(large, c, slow_memory).memory_ms == pytest.approx(2 * timing(large).memory_ms)
    slow_cpu = Clocks(c.gpu_clock_mhz, c.memory_clock_mhz, c.cpu_clock_mhz / 2)
    assert timing_of(small, c, slow_cpu).launch_bound_ms == pytest.approx(2 * timing(small).launch_bound_ms)
    assert timing_of(large, c, slow_cpu).arithmetic_ms == pytest.approx(timing(large).arithmetic_ms)
