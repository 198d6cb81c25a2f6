"""The INA3221 in sysfs: rails by name whatever their place, both drivers, and what the driver may answer."""

import errno
from pathlib import Path

import pytest
from edgesynth_agent.clock import FakeClock
from edgesynth_agent.power import ina3221
from edgesynth_agent.power.ina3221 import find_ina3221, find_rails
from edgesynth_agent.power.polled import PolledPower
from edgesynth_agent.power.readings import Reading

from tests.agent.fake_sysfs import DRIVERS, FakeSysfs

ORIN = [("VDD_GPU_SOC", 20000, 120), ("VDD_CPU_CV", 20000, 80), ("VIN_SYS_5V0", 5000, 940)]
XAVIER = [("GPU", 19000, 1), ("CPU", 19000, 16), ("SOC", 19000, 49)], [("CV", 19000, 0), ("VDDRQ", 19000, 32)]


@pytest.fixture
def fake(tmp_path):
    return FakeSysfs(tmp_path)


def find(fake):
    sensor = find_ina3221(str(fake.root))
    assert not isinstance(sensor, str), sensor
    return sensor


def power_w(sensor):
    """One reading's."""
    sensor.open()
    try:
        return sensor.samples([Reading(1.0, sensor.read())], None)[0].power_w
    finally:
        sensor.close()


class TestRails:
    def test_tx2_takes_vdd_in_and_nothing_of_its_carrier(self, fake):
        fake.iio("0-0040", 0, [("VDD_SYS_GPU", 19064, 8), ("VDD_SYS_SOC", 19064, 36), ("VDD_4V0_WIFI", 4800, 0)])
        fake.iio("0-0041", 1, [("VDD_IN", 19064, 160), ("VDD_SYS_CPU", 19064, 8), ("VDD_SYS_DDR", 4800, 184)])
        fake.iio("0-0042", 2, [("VDD_MUX", 19064, 170), ("VDD_5V_IO_SYS", 5000, 100), ("VDD_3V3_SYS", 3300, 9)])
        sensor = find(fake)
        assert sensor.facts()["total_rule"] == "VDD_IN"
        assert len(sensor.facts()["rails"]) == 9
        assert power_w(sensor) == pytest.approx(19.064 * 0.160)

    def test_agx_orin_adds_three_rails_of_five(self, fake):
        fake.hwmon("1-0040", 3, ORIN)
        fake.hwmon("1-0041", 4, [("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 60), ("NC", 0, 0)])
        sensor = find(fake)
        assert sensor.facts()["total_rule"] == "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0"
        assert power_w(sensor) == pytest.approx(2.4 + 1.6 + 4.7)

    def test_agx_xavier_adds_all_six(self, fake):
        fake.iio("1-0040", 0, XAVIER[0])
        fake.iio("1-0041", 1, [*XAVIER[1], ("SYS5V", 5000, 296)])
        assert power_w(find(fake)) == pytest.approx(19 * (0.001 + 0.016 + 0.049 + 0.032) + 5 * 0.296)

    def test_thor_takes_its_input_where_there_is_one(self, fake):
        fake.hwmon("2-0040", 5, [("VDD_GPU", 20000, 246), ("VDD_CPU_SOC_MSS", 20000, 435), ("VIN_SYS_5V0", 5000, 1353)])
        assert power_w(find(fake)) == pytest.approx(4.92 + 8.7 + 6.765)
        fake.ina238("2-0044", 6, "VIN", 28906000)
        assert power_w(find(fake)) == pytest.approx(28.906)

    def test_a_sum_may_have_a_rail_below_zero(self, fake):
        fake.hwmon("1-0040", 3, [("VDD_GPU_SOC", 20000, -19), *ORIN[1:]])
        assert power_w(find(fake)) == pytest.approx(-0.38 + 1.6 + 4.7)

    def test_place_and_numbers_do_not_matter(self, fake):
        fake.hwmon("17-004f", 99, ORIN)
        assert power_w(find(fake)) == pytest.approx(8.7)

    def test_two_inputs_of_one_name_are_ambiguous(self, fake):
        fake.iio("0-0040", 0, [("VDD_IN", 5000, 400)])
        fake.iio("0-0041", 1, [("VDD_IN", 5000, 500)])
        assert "several rails called VDD_IN" in find_ina3221(str(fake.root))

    def test_the_sum_of_shunt_voltages_is_no_rail(self, fake):
        fake.hwmon("1-0040", 3, ORIN)
        assert [rail.name for rail in find_rails(str(fake.root))] == [name for name, _, _ in ORIN]

    def test_other_drivers_files_in_the_folder_do_not_matter(self, fake):
        fake.write(f"{DRIVERS}/ina3221/bind", "")
        fake.write(f"{DRIVERS}/ina3221/1-0040/name", "ina3221")
        assert "no INA3221" in find_ina3221(str(fake.root))

    def test_one_file_with_both_numbers_goes_before_the_truncated_product(self, fake):
        fake.iio("6-0040", 0, [("POM_5V_IN", 5083, 351)])
        (rail,) = find_rails(str(fake.root))
        assert [Path(file).name for file in rail.files] == ["ui_input_0"]
        assert power_w(find(fake)) == pytest.approx(5.083 * 0.351)

    def test_an_older_kernel_gives_the_product_alone(self, fake):
        fake.iio("6-0040", 0, [("POM_5V_IN", 5083, 351)], ui=False)
        assert power_w(find(fake)) == pytest.approx(1.784)

    def test_the_alias_of_a_folder_is_no_second_chip(self, fake):
        folder = fake.root / fake.iio("0-0041", 1, [("VDD_IN", 19064, 160)])
        (folder.parent / "iio_device").symlink_to(folder)
        assert len(find_rails(str(fake.root))) == 1
        folder.rename(folder.parent / "elsewhere")
        (folder.parent / "iio_device").unlink()
        (folder.parent / "elsewhere").rename(folder.parent / "iio_device")
        assert len(find_rails(str(fake.root))) == 1


class TestReading:
    @pytest.fixture
    def sensor(self, fake):
        self.folder = fake.iio("0-0041", 1, [("VDD_IN", 19064, 160)])
        return find(fake)

    def test_each_reading_is_of_that_moment(self, fake, sensor):
        sensor.open()
        first = sensor.read()
        fake.rewrite(f"{self.folder}/ui_input_0", "19064 161")
        assert sensor.read() != first
        sensor.close()

    def test_eagain_is_asked_again(self, sensor, monkeypatch):
        answers = [BlockingIOError(), BlockingIOError(), b"19064 200\n"]

        def pread(*_):
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        sensor.open()
        monkeypatch.setattr(ina3221.os, "pread", pread)
        assert sensor.read() == (b"19064 200\n",)
        sensor.close()

    def test_eagain_for_ever_is_a_failed_reading(self, sensor, monkeypatch):
        def pread(*_):
            raise BlockingIOError(errno.EAGAIN, "try again")

        sensor.open()
        monkeypatch.setattr(ina3221.os, "pread", pread)
        with pytest.raises(OSError, match="try again"):
            sensor.read()
        sensor.close()

    @pytest.mark.parametrize(
        "text", [b"", b"\n", b"garbage\n", b"19064\n", b"1 2 3\n", b"-\n", b"1.5 2\n", b"-19064 -200\n"]
    )
    def test_what_is_no_reading_is_a_value_error(self, sensor, text):
        with pytest.raises(ValueError, match=r"VDD_IN|invalid literal"):
            sensor.samples([Reading(0.0, (text,))], None)

    def test_closing_twice_is_fine_and_opening_again_too(self, sensor):
        sensor.close()
        sensor.open()
        sensor.open()
        sensor.close()
        sensor.close()

    def test_a_sensor_that_went_away_makes_the_trace_invalid(self, fake, sensor):
        source = PolledPower(sensor, FakeClock())
        (fake.root / self.folder / "ui_input_0").unlink()
        source.prepare()
        source.start()
        trace = source.stop()
        assert trace.samples == []
        assert "No such file" in trace.invalid


class TestSettings:
    def test_a_triggered_chip_gives_instants(self, fake):
        folder = fake.iio("0-0041", 1, [("VDD_IN", 19064, 160)])
        sensor = find(fake)
        assert not sensor.averages
        assert sensor.facts()["settings"] == {str(fake.root / folder): {"running_mode": 0}}
        assert sensor.samples([Reading(5.0, (b"19064 160",))], 0.4)[0].time_s == 5.0

    def test_a_chip_that_runs_by_itself_gives_means_of_its_update(self, fake):
        fake.iio("0-0041", 1, [("VDD_IN", 19064, 160)], running_mode=1)
        sensor = find(fake)
        assert sensor.averages
        assert sensor.samples([Reading(5.0, (b"19064 160",))], 0.4)[0].time_s == pytest.approx(4.8)

    def test_hwmon_says_over_what_it_averages(self, fake):
        folder = fake.hwmon("1-0040", 3, ORIN, samples=64, update_interval=422)
        sensor = find(fake)
        assert sensor.averages
        settings = sensor.facts()["settings"][str(fake.root / folder)]
        assert settings == {"samples": 64, "update_interval": 422}
        raw = (b"20000", b"120", b"20000", b"80", b"5000", b"940")
        assert sensor.samples([Reading(5.0, raw)], 0.9)[0].time_s == pytest.approx(4.789)

    def test_settings_are_looked_at_again_at_each_run(self, fake):
        folder = fake.iio("0-0041", 1, [("VDD_IN", 19064, 160)])
        sensor = find(fake)
        fake.rewrite(f"{folder}/running_mode", "1")
        sensor.open()
        assert sensor.averages
        sensor.close()
