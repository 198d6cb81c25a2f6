"""The hardware of a virtual TX2: sensors, clocks, temperatures and device tree as files in /sys. Python 3.6.

/sys of a container is read-only and has none of them: a tree beside it is mounted over the folders concerned. Files
that change are written in place, since readers keep them open.
"""

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from power_model import RAILS, VOLTS_MV, milliamperes  # noqa: E402

HOME = "/run/tx2"
TREE = HOME + "/sys"
MODEL = "NVIDIA Jetson TX2 Developer Kit"
GPU = "17000000.gp10b"
GPU_LEAST_HZ = 114750000
# Often enough for 500 updates in a window of 10 s; one percent of a processor.
PERIOD_S = 0.02
# As in tests/agent/data/tegrastats/tx2-r32-off-cores.log; they stay so.
TEMPERATURES_C = (
    ("BCPU-therm", 37.5), ("MCPU-therm", 37.5), ("GPU-therm", 35.0), ("PLL-therm", 37.5), ("Tboard_tegra", 32.0),
    ("Tdiode_tegra", 34.25), ("PMIC-Die", 100.0),
)  # fmt: skip


def put(path, text):
    path = os.path.join(TREE, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def build_tree():
    keep_classes()
    for number, (name, degrees) in enumerate(TEMPERATURES_C):
        put("class/thermal/thermal_zone{}/type".format(number), name + "\n")
        put("class/thermal/thermal_zone{}/temp".format(number), "{}\n".format(int(degrees * 1000)))
    put("class/devfreq/{}/min_freq".format(GPU), "{}\n".format(GPU_LEAST_HZ))
    put("class/dmi/id/product_name", MODEL + "\n")
    put("firmware/devicetree/base/model", MODEL + "\0")
    put("firmware/devicetree/base/compatible", "nvidia,p2771-0000\0nvidia,tegra186\0")
    for number, (chip, rails) in enumerate(RAILS):
        for channel, rail in enumerate(rails):
            put(folder_of(number, chip) + "rail_name_{}".format(channel), rail + "\n")
        # Continuous: what is read is a mean, here over PERIOD_S. A TX2 as delivered converts when it is read.
        put(folder_of(number, chip) + "running_mode", "1\n")


def folder_of(number, chip):
    return "bus/i2c/drivers/ina3221x/{}/iio:device{}/".format(chip, number)


def keep_classes():
    """The devices that the container has keep their places: what is in /sys/class is links."""
    for name in os.listdir("/sys/class"):
        folder = os.path.join(TREE, "class", name)
        os.makedirs(folder)
        for device in os.listdir(os.path.join("/sys/class", name)):
            path = os.path.join("/sys/class", name, device)
            if name not in ("devfreq", "dmi", "thermal") and os.path.islink(path):
                os.symlink(os.readlink(path), os.path.join(folder, device))


def mount_tree():
    for name in ("bus", "class", "firmware"):
        subprocess.check_call(["mount", "--bind", TREE + "/" + name, "/sys/" + name])


class Meter:
    """How many processors this machine's processes kept busy since the last question, this one left out."""

    def __init__(self):
        self._group = os.open("/sys/fs/cgroup/cpu.stat", os.O_RDONLY)
        self._last = self._read()

    def busy(self):
        before, self._last = self._last, self._read()
        elapsed_s = self._last[0] - before[0]
        return max(0.0, (self._last[1] - before[1]) / elapsed_s)

    def _read(self):
        used_us = int(os.pread(self._group, 64, 0).split()[1])
        return time.monotonic(), used_us * 1e-6 - time.process_time()


class Files:
    """The files that change."""

    def __init__(self):
        self._rails = []
        for number, (chip, rails) in enumerate(RAILS):
            for channel, rail in enumerate(rails):
                names = ["ui_input_{}", "in_power{}_input", "in_current{}_input", "in_voltage{}_input"]
                paths = [folder_of(number, chip) + name.format(channel) for name in names]
                self._rails.append((rail, [self._open(path) for path in paths]))
        self._busy = os.open(HOME + "/busy", os.O_WRONLY | os.O_CREAT, 0o644)
        self._clocks = [self._open("class/devfreq/{}/{}_freq".format(GPU, name)) for name in ("cur", "max")]
        self._chance = random.Random(socket.gethostname())

    @staticmethod
    def _open(path):
        put(path, "")
        return os.open(os.path.join(TREE, path), os.O_WRONLY)

    def rails(self, busy):
        os.pwrite(self._busy, b"%7.3f\n" % busy, 0)
        noise = self._chance.uniform(-1.0, 1.0)
        for rail, files in self._rails:
            volts, amperes = VOLTS_MV[rail], milliamperes(rail, busy, noise)
            values = (b"%d %-5d\n" % (volts, amperes), volts * amperes // 1000, amperes, volts)
            for file, value in zip(files, values):
                # Of one length always: a shorter value then covers a longer one, in one write.
                os.pwrite(file, value if isinstance(value, bytes) else b"%-7d\n" % value, 0)

    def clocks(self):
        most = gpu_most_hz()
        current = most if os.path.exists(HOME + "/clocks-locked") else GPU_LEAST_HZ
        for file, value in zip(self._clocks, (current, most)):
            os.pwrite(file, b"%-11d\n" % value, 0)


def gpu_most_hz():
    with open("/var/lib/nvpmodel/status") as file:
        mode = int(re.search("pmode:([0-9]+)", file.read()).group(1))
    with open("/etc/nvpmodel.conf") as file:
        return int(
            re.search(r"ID={} .*?^GPU MAX_FREQ (\d+)".format(mode), file.read(), re.DOTALL | re.MULTILINE).group(1)
        )


def say_ready():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])


def main():
    if not os.path.exists(HOME + "/mounted"):
        shutil.rmtree(TREE, ignore_errors=True)
        build_tree()
        mount_tree()
        open(HOME + "/mounted", "w").close()
    meter, files = Meter(), Files()
    files.rails(0.0)
    files.clocks()
    say_ready()
    turn = 0
    while True:
        time.sleep(PERIOD_S)
        files.rails(meter.busy())
        turn += 1
        if turn % 25 == 0:
            files.clocks()


if __name__ == "__main__":
    main()
