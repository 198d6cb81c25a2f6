"""Clocks, temperatures and the power mode, from files as a board has them."""

import json
from abc import ABC, abstractmethod

import pytest
from edgesynth_agent.clock import FakeClock, MonotonicClock
from edgesynth_agent.conditions import Conditions, FakeConditions, NoConditions, SysfsConditions


def put(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def board(root, gpu="17000000.gp10b"):
    """A TX2's thermal zones, and the GPU under the name that a release gives it."""
    zones = ["BCPU-therm", "MCPU-therm", "GPU-therm", "PLL-therm", "PMIC-Die", "thermal-fan-est"]
    put(root, {f"sys/class/thermal/thermal_zone{index}/type": name for index, name in enumerate(zones)})
    put(root, {f"sys/class/thermal/thermal_zone{index}/temp": str(40000 + 500 * index) for index in range(6)})
    put(root, {"sys/class/thermal/thermal_zone4/temp": "100000"})
    put(root, {f"sys/class/devfreq/{gpu}/cur_freq": "1300500000", "sys/class/devfreq/15340000.vic/cur_freq": "1"})
    put(root, {"var/lib/nvpmodel/status": "pmode:0003 fmode:quiet"})
    return root


class ConditionsContract(ABC):
    @abstractmethod
    def make(self) -> Conditions: ...

    def let_pass(self):  # noqa: B027 - most have no clock of their own
        """Let time pass on its clock, where it has one of its own."""

    def test_samples_ascend(self):
        conditions = self.make()
        for _ in range(2):
            conditions.start()
            self.let_pass()
            times = [each.time_s for each in conditions.stop()]
            assert times == sorted(times)

    def test_a_snapshot_is_json_in_which_none_has_a_reason(self):
        snapshot = json.loads(json.dumps(self.make().snapshot(), allow_nan=False))
        assert set(snapshot) == {"power_mode", "clocks_mhz", "temperatures_c", "reasons"}
        unknown = {name for name, value in snapshot.items() if value is None}
        assert unknown == set(snapshot["reasons"])
        assert all(snapshot["reasons"].values())

    def test_can_be_read_at_any_time(self):
        conditions = self.make()
        before_s = conditions.read().time_s
        conditions.start()
        assert conditions.read().time_s >= before_s
        conditions.stop()
        assert conditions.read().time_s >= before_s


class TestNoConditions(ConditionsContract):
    def make(self):
        return NoConditions(FakeClock())


class TestFakeConditions(ConditionsContract):
    def make(self):
        self.clock = FakeClock()
        return FakeConditions(self.clock, lambda time_s: 1000.0)

    def let_pass(self):
        self.clock.advance(1.0)


class TestSysfsConditions(ConditionsContract):
    @pytest.fixture(autouse=True)
    def files(self, tmp_path):
        self.root = board(tmp_path)

    def make(self):
        return SysfsConditions(MonotonicClock(), "gpu", str(self.root))

    def test_samples_from_the_first_moment_to_the_last(self):
        conditions = self.make()
        conditions.start()
        (only,) = conditions.stop()
        assert only[1:] == (1300.5, 41.0)

    def test_the_temperature_is_that_of_what_computes(self):
        assert self.make().read().temperature_c == 41.0
        assert SysfsConditions(MonotonicClock(), "cpu", str(self.root)).read().temperature_c == 40.0

    def test_elsewhere_it_is_that_of_the_hottest_zone(self, tmp_path):
        root = tmp_path / "other"
        put(root, {"sys/class/thermal/thermal_zone0/type": "acpitz", "sys/class/thermal/thermal_zone0/temp": "30000"})
        put(root, {"sys/class/thermal/thermal_zone1/type": "pch", "sys/class/thermal/thermal_zone1/temp": "50000"})
        assert SysfsConditions(MonotonicClock(), "gpu", str(root)).read()[1:] == (None, 50.0)

    @pytest.mark.parametrize(
        "gpu", ["57000000.gpu", "17000000.gp10b", "17000000.gv11b", "17000000.ga10b", "17000000.gpu", "gpu-gpc-0"]
    )
    def test_the_gpu_is_found_under_all_its_names(self, tmp_path, gpu):
        root = board(tmp_path / "other", gpu)
        assert SysfsConditions(MonotonicClock(), "gpu", str(root)).read().gpu_mhz == 1300.5

    def test_what_cannot_be_read_is_unknown(self):
        conditions = self.make()
        (self.root / "sys/class/devfreq/17000000.gp10b/cur_freq").unlink()
        (self.root / "sys/class/thermal/thermal_zone2/temp").write_text("")
        assert conditions.read()[1:] == (None, None)

    def test_a_machine_without_any_of_it(self, tmp_path):
        conditions = SysfsConditions(MonotonicClock(), "gpu", str(tmp_path / "empty"))
        conditions.start()
        assert conditions.stop() == []
        assert set(conditions.snapshot()["reasons"]) == {"power_mode", "clocks_mhz", "temperatures_c"}

    def test_the_snapshot_has_the_mode_all_clocks_and_all_zones(self):
        snapshot = self.make().snapshot()
        assert snapshot["power_mode"] == {"id": 3, "name": None}
        assert snapshot["clocks_mhz"]["17000000.gp10b"] == 1300.5
        assert "PMIC-Die" not in snapshot["temperatures_c"]
        assert snapshot["temperatures_c"]["GPU-therm"] == 41.0
        assert snapshot["reasons"] == {}

    def test_nothing_is_written(self):
        before = {path: path.read_text() for path in self.root.rglob("*") if path.is_file()}
        conditions = self.make()
        conditions.start()
        conditions.snapshot()
        conditions.stop()
        assert {path: path.read_text() for path in self.root.rglob("*") if path.is_file()} == before
