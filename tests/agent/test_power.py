"""Every power source keeps the contract, whatever it reads; and the best one that a machine has is found."""

import itertools
import sys
import time
import types

import pytest
from edgesynth_agent.clock import FakeClock, MonotonicClock
from edgesynth_agent.errors import RefusedError
from edgesynth_agent.power import (
    AbsentPower,
    FakePower,
    PowerSample,
    PowerTrace,
    ReplayPower,
    find_power_source,
    polled,
    write_trace,
)

from tests.agent.contract import PowerSourceContract
from tests.agent.fake_sysfs import FakeSysfs
from tests.agent.fake_tegrastats import write_tegrastats


class OnFakeClock(PowerSourceContract):
    clock = FakeClock(100.0)

    def let_pass(self, seconds):
        self.clock.advance(seconds)

    def now_s(self):
        return self.clock.now_s()


class OnFiles(PowerSourceContract):
    """In real time, on files that `move` changes."""

    stretch_s = 0.15

    @pytest.fixture(autouse=True)
    def sysfs(self, tmp_path, monkeypatch):
        monkeypatch.setattr(polled, "_PROBE_S", 0.02)
        self.fake = FakeSysfs(tmp_path)
        self.turn = itertools.count()

    def move(self, turn):
        pass

    def let_pass(self, seconds):
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.move(next(self.turn))
            time.sleep(0.005)

    def now_s(self):
        return time.monotonic()

    def find(self, only=None):
        return find_power_source(MonotonicClock(), str(self.fake.root), str(self.fake.root / "home"), only)


class TestFakePower(OnFakeClock):
    def make(self):
        return FakePower(self.clock, lambda _: 5.0)


class TestAbsentPower(OnFakeClock):
    def make(self):
        return AbsentPower("there is none")


class TestReplayPower(OnFakeClock):
    @pytest.fixture(autouse=True)
    def recording(self, tmp_path):
        self.path = str(tmp_path / "trace.gz")
        samples = [PowerSample(7.0 + 0.01 * index, 5.0 + 0.1 * (index % 3)) for index in range(400)]
        write_trace(self.path, PowerTrace(samples, update_period_s=0.01), {"sensor": "ina3221"})

    def make(self):
        return ReplayPower(self.clock, self.path)

    def test_each_start_begins_it_anew(self):
        source = self.make()
        first, second = self.trace(source), self.trace(source)
        assert [power_w for _, power_w in first.samples] == [power_w for _, power_w in second.samples]
        assert (first.update_period_s, first.invalid) == (0.01, None)
        assert first.samples[0].power_w == 5.0
        assert source.facts()["recorded"] == {"sensor": "ina3221"}

    def test_it_ends_where_the_recording_does(self):
        source = self.make()
        source.start()
        self.clock.advance(60.0)
        assert len(source.stop().samples) == 400

    def test_what_was_invalid_stays_so(self, tmp_path):
        path = str(tmp_path / "bad.gz")
        write_trace(path, PowerTrace([PowerSample(0.0, 1.0)], invalid="stuck"), {})
        assert self.trace(ReplayPower(self.clock, path)).invalid == "stuck"

    def test_an_empty_recording_is_invalid(self, tmp_path):
        path = str(tmp_path / "empty.gz")
        write_trace(path, PowerTrace([]), {})
        assert self.trace(ReplayPower(self.clock, path)).invalid

    def test_a_file_that_is_none_is_refused(self, tmp_path):
        (tmp_path / "x.gz").write_bytes(b"no gzip")
        with pytest.raises(RefusedError):
            ReplayPower(self.clock, str(tmp_path / "x.gz"))


class TestIioPower(OnFiles):
    def make(self):
        self.folder = self.fake.iio("0-0041", 1, [("VDD_IN", 19064, 301), ("VDD_SYS_CPU", 19064, 20)])
        return self.find()

    def move(self, turn):
        self.fake.rewrite(f"{self.folder}/ui_input_0", f"19064 {301 + turn % 7}")


class TestHwmonPower(OnFiles):
    def make(self):
        self.folder = self.fake.hwmon("1-0040", 4, [("VDD_IN", 5008, 951), ("VDD_CPU_GPU_CV", 5008, 103)])
        return self.find()

    def move(self, turn):
        self.fake.rewrite(f"{self.folder}/curr1_input", 951 + turn % 7)


class TestRaplPower(OnFiles):
    stretch_s = 0.35

    def make(self):
        self.energy_uj = 1000000000
        self.folder = self.fake.rapl("intel-rapl:0", "package-0", self.energy_uj)
        return self.find()

    def move(self, turn):
        self.energy_uj += 100000
        self.fake.rewrite(f"{self.folder}/energy_uj", self.energy_uj)


class TestTegrastatsPower(OnFiles):
    stretch_s = 0.4

    def make(self):
        write_tegrastats(self.fake.root / "usr/bin/tegrastats", "VDD_IN {}mW/3056mW", interval_s=0.02)
        return self.find()


class FakeJtop:
    """What jetson-stats shows of itself to this agent."""

    count = itertools.count()

    def __init__(self, interval):
        assert interval >= 0.5

    def start(self):
        pass

    def close(self):
        pass

    @property
    def power(self):
        mw = 4000 + next(self.count) % 5
        rails = {"VDD_IN": {"volt": 5000, "curr": 800, "power": mw, "avg": 1}, "VDD_SOC": {"power": 1000}}
        return {"rail": rails, "tot": {"name": "VDD_IN", "power": 1}}


class TestJtopPower(OnFiles):
    stretch_s = 0.35

    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "jtop", types.SimpleNamespace(jtop=FakeJtop))

    def make(self):
        return self.find("jtop")

    def test_total_is_the_input_rail_not_a_sum(self):
        powers = [power_w for _, power_w in self.trace(self.make()).samples]
        assert powers
        assert all(4.0 <= power_w < 4.01 for power_w in powers)

    def test_without_its_service_the_trace_is_invalid(self, monkeypatch):
        def refuse(self):
            raise RuntimeError("the service is not active")

        monkeypatch.setattr(FakeJtop, "start", refuse)
        assert "the service is not active" in self.trace(self.make()).invalid


class TestFinding:
    @pytest.fixture
    def fake(self, tmp_path):
        return FakeSysfs(tmp_path)

    def find(self, fake, only=None):
        return find_power_source(MonotonicClock(), str(fake.root), str(fake.root / "home/nvidia"), only)

    def sensor(self, fake, only=None):
        return self.find(fake, only).facts()["sensor"]

    def test_the_best_there_is(self, fake):
        fake.rapl("intel-rapl:0", "package-0", 5)
        assert self.sensor(fake) == "rapl"
        write_tegrastats(fake.root / "home/nvidia/tegrastats", "")
        assert self.sensor(fake) == "tegrastats"
        fake.iio("6-0040", 0, [("POM_5V_IN", 5000, 350)])
        assert self.sensor(fake) == "ina3221"
        assert self.sensor(fake, "rapl") == "rapl"

    def test_without_any_all_reasons_are_told(self, fake):
        absence = self.find(fake).absence
        for part in ("no power sensor", "no INA3221 in", "no tegrastats in", "no RAPL in"):
            assert part in absence

    def test_rails_that_tell_no_total_are_a_reason(self, fake):
        fake.hwmon("1-0040", 4, [("VDD_GPU_SOC", 5000, 300), ("VDD_CPU_CV", 5000, 100)])
        assert "rail VIN_SYS_5V0 is missing" in self.find(fake).absence

    def test_a_tegrastats_that_may_not_be_run_is_none(self, fake):
        write_tegrastats(fake.root / "usr/bin/tegrastats", "").chmod(0o644)
        assert self.find(fake).absence

    def test_jtop_is_only_for_those_who_ask(self, fake, monkeypatch):
        monkeypatch.setitem(sys.modules, "jtop", types.SimpleNamespace(jtop=FakeJtop))
        assert self.sensor(fake) is None
        assert self.sensor(fake, "jtop") == "jtop"

    def test_a_broken_jtop_is_a_reason(self, fake, monkeypatch):
        monkeypatch.setitem(sys.modules, "jtop", None)
        assert "no jtop" in self.find(fake, "jtop").absence

    def test_another_name_is_a_mistake(self, fake):
        with pytest.raises(KeyError):
            self.find(fake, "voltmeter")

    def test_counters_that_cannot_be_read_are_a_reason(self, fake):
        counter = fake.root / fake.rapl("intel-rapl:0", "package-0", 5) / "energy_uj"
        counter.unlink()
        counter.mkdir()  # fails to open for root as well
        assert "for root alone" in self.find(fake).absence
