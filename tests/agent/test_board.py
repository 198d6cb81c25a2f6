"""What the files of a board say of it, as trees under a folder of a test."""

import pytest
from edgesynth_agent import board
from edgesynth_agent.device import Device

from tests.agent.fake_sysfs import FakeSysfs

RELEASE = (
    "# R{} (release), REVISION: {}, GCID: 29818004, BOARD: t186ref, EABI: aarch64, DATE: Sat Feb 19 17:07:00 UTC 2022"
)


@pytest.fixture
def tree(tmp_path):
    return FakeSysfs(tmp_path)


@pytest.fixture
def root(tree):
    return str(tree.root)


@pytest.fixture
def tx2(tree):
    """A TX2 with JetPack 4.6.1."""
    tree.write("etc/nv_tegra_release", RELEASE.format(32, "7.1"))
    tree.write("proc/device-tree/model", "quill\0")
    tree.write("proc/device-tree/compatible", "nvidia,quill\0nvidia,p2597-0000+p3310-1000\0nvidia,tegra186\0")
    tree.write("proc/meminfo", "MemTotal:        8040408 kB\nMemFree:  100 kB\nMemAvailable:    5000000 kB")
    tree.write("proc/cpuinfo", "processor : 0\nHardware : quill")
    tree.write("usr/local/cuda/version.txt", "CUDA Version 10.2.300")
    for cpu, khz in ((0, 345600), (1, 2035200), (10, 345600)):
        tree.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", khz)
    tree.write("sys/class/devfreq/17000000.gp10b/cur_freq", 1134750000)
    for zone, (name, value) in enumerate(
        [("BCPU-therm", 41500), ("GPU-therm", 39000), ("PMIC-Die", 100000), ("off", -256000), ("GPU-therm", 40000)]
    ):
        tree.write(f"sys/class/thermal/thermal_zone{zone}/type", name)
        tree.write(f"sys/class/thermal/thermal_zone{zone}/temp", value)
    (tree.root / "sys/class/thermal/thermal_zone9").mkdir()
    tree.iio("0-0041", 1, [("VDD_IN", 19064, 250), ("VDD_SYS_CPU", 19064, 40), ("VDD_SYS_DDR", 4776, 200)])
    nvpmodel(tree, "echo 'NV Power Mode: MAXP_CORE_ARM'; echo 3")
    return tree


def nvpmodel(tree, commands):
    tool = tree.write("usr/sbin/nvpmodel", f"#!/bin/sh\n{commands}")
    tool.chmod(0o755)


def device(root):
    return Device(root, root, call=lambda order, limit_s: {})


def test_all_that_a_tx2_says(tx2, root):
    facts = device(root).facts()
    assert (facts["model"], facts["l4t"], facts["jetpack"], facts["cuda"]) == ("quill", "32.7.1", "4.6.1", "10.2.300")
    assert facts["cpu"] == "quill"
    assert facts["power_mode"] == {"id": 3, "name": "MAXP_CORE_ARM"}
    clocks = {"cpu0": 345.6, "cpu1": 2035.2, "cpu10": 345.6, "17000000.gp10b": 1134.75}
    assert facts["clocks_mhz"] == pytest.approx(clocks)
    assert facts["temperatures_c"] == {"BCPU-therm": 41.5, "GPU-therm": 39.0, "thermal_zone4": 40.0}
    assert (facts["memory_bytes"], facts["memory_available_bytes"]) == (8040408 * 1024, 5000000 * 1024)
    assert facts["power"]["sensor"] == "ina3221"
    assert facts["power"]["total_rule"] == "VDD_IN"
    assert "update_period_s" in facts["power"]
    assert (facts["targets"], facts["compute_capability"]) == (["host", "tx2"], "6.2")
    assert facts["source"] == "simulated"
    assert facts["reasons"] == {"source": f"its sensors and facts are the files under {root}"}


def test_what_nothing_says_is_unknown_with_a_reason(root):
    facts = device(root).facts()
    unknown = {name for name, value in facts.items() if value is None}
    assert unknown | {"source"} == set(facts["reasons"])
    assert facts["targets"] == ["host"]
    assert unknown >= {"model", "l4t", "jetpack", "cuda", "power_mode", "clocks_mhz", "temperatures_c", "memory_bytes"}
    assert facts["compute_capability"] is None
    assert facts["power"]["reason"]


def test_power_now_is_one_reading_and_never_while_a_job_measures(tx2, root):
    now = device(root).now()
    assert now["power_w"] == pytest.approx(19.064 * 0.250)
    busy = device(root).now(power=False)
    assert busy["power_w"] is None
    assert "a job measures" in busy["reasons"]["power_w"]


@pytest.mark.parametrize(
    ("release", "l4t", "jetpack"),
    [
        ((32, "7.1"), "32.7.1", "4.6.1"),
        ((35, "1.0"), "35.1.0", "5.0.2"),
        ((35, "5.0"), "35.5.0", "5.1.3"),
        ((35, "6.1"), "35.6.1", "5.1.5"),
        ((36, "4.3"), "36.4.3", "6.2"),
        ((38, "4.0"), "38.4.0", "7.1"),
        ((39, "2.1"), "39.2.1", "7.2.1"),
        ((38, "3.0"), "38.3.0", None),
        ((40, "1.0"), "40.1.0", None),
        ((32, "99.9"), "32.99.9", None),
    ],
)
def test_releases(tree, root, release, l4t, jetpack):
    tree.write("etc/nv_tegra_release", RELEASE.format(*release))
    assert board.l4t_version(root) == (l4t, None)
    found, reason = board.jetpack_of(l4t)
    assert found == jetpack
    assert (reason is None) == (jetpack is not None)


def test_a_release_of_another_form_is_unknown(tree, root):
    tree.write("etc/nv_tegra_release", "something else")
    assert board.l4t_version(root) == (None, "/etc/nv_tegra_release is of no known form")


def test_newer_cuda_says_its_version_as_json(tree, root):
    tree.write("usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "11.4.19"}}')
    assert board.cuda_version(root) == ("11.4.19", None)
    for text in ("[]", "{", '{"cuda": 5}'):
        tree.write("usr/local/cuda/version.json", text)
        assert board.cuda_version(root)[0] is None


def test_nvpmodel_that_fails_or_hangs_is_no_harm(tree, root, monkeypatch):
    monkeypatch.setattr(board, "_NVPMODEL_LIMIT_S", 0.2)
    nvpmodel(tree, "exec sleep 60")
    assert "timed out" in board.power_mode(root)[1]
    nvpmodel(tree, "exit 1")
    assert board.power_mode(root) == (None, "nvpmodel -q does not tell the mode")
    tree.write("var/lib/nvpmodel/status", "pmode:0008 fmode:quiet")
    assert board.power_mode(root) == ({"id": 8, "name": None}, None)
    (tree.root / "usr/sbin/nvpmodel").chmod(0o644)
    assert board.power_mode(root) == ({"id": 8, "name": None}, None)
