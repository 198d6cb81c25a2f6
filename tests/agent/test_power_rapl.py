"""RAPL: zones that are not counted twice, and counters that start over."""

import pytest
from edgesynth_agent.power.rapl import find_rapl
from edgesynth_agent.power.readings import Reading
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.fake_sysfs import FakeSysfs

RANGE_UJ = 262143328850


@pytest.fixture
def fake(tmp_path):
    return FakeSysfs(tmp_path)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A sensor of one package, never opened."""
    fake = FakeSysfs(tmp_path_factory.mktemp("rapl"))
    fake.rapl("intel-rapl:0", "package-0", 1, RANGE_UJ)
    return find_rapl(str(fake.root))


def rows(*counters):
    return [Reading(0.1 * index, (str(uj).encode(),)) for index, uj in enumerate(counters)]


def test_packages_and_their_memory_and_nothing_twice(fake):
    fake.write("sys/class/powercap/intel-rapl/enabled", 1)
    fake.rapl("intel-rapl:0", "package-0", 1)
    fake.rapl("intel-rapl:0:0", "core", 2)
    fake.rapl("intel-rapl:0:1", "uncore", 3)
    fake.rapl("intel-rapl:0:2", "dram", 4)
    fake.rapl("intel-rapl:1", "package-1", 5)
    fake.rapl("intel-rapl:2", "psys", 6)
    fake.rapl("intel-rapl-mmio:0", "package-0", 7)
    sensor = find_rapl(str(fake.root))
    assert sensor.facts()["total_rule"] == "package-0+dram+package-1"
    sensor.open()
    assert sensor.read() == (b"1\n", b"4\n", b"5\n")
    sensor.close()
    assert "not of the whole machine" in sensor.caveat


def test_power_is_energy_over_time_in_the_middle(package):
    (sample,) = package.samples(rows(1000000, 1500000), None)
    assert sample == pytest.approx((0.05, 5.0))


def test_a_counter_starts_over_at_the_end_of_its_range(package):
    (sample,) = package.samples(rows(RANGE_UJ - 200000, 300000), None)
    assert sample.power_w == pytest.approx(5.0)


def test_a_counter_that_falls_and_says_no_range_is_no_reading(fake):
    folder = fake.rapl("intel-rapl:0", "package-0", 1)
    (fake.root / folder / "max_energy_range_uj").unlink()
    with pytest.raises(ValueError, match="fell from 5 to 4"):
        find_rapl(str(fake.root)).samples(rows(5, 4), None)


def test_without_a_package_there_is_none(fake):
    fake.rapl("intel-rapl:0", "psys", 6)
    assert "no RAPL" in find_rapl(str(fake.root))


@given(st.integers(0, RANGE_UJ), st.lists(st.integers(1, 10**7), min_size=1, max_size=50))
def test_energy_adds_up_over_any_number_of_restarts(package, first, steps_uj):
    counters = [first]
    for step_uj in steps_uj:
        counters.append((counters[-1] + step_uj) % RANGE_UJ)
    samples = package.samples(rows(*counters), None)
    assert sum(power_w * 0.1 for _, power_w in samples) == pytest.approx(1e-6 * sum(steps_uj))
