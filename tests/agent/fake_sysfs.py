"""Power sensors as files: the parts of /sys that the agent reads, under a folder of a test."""

import os
from pathlib import Path

__all__ = ["FakeSysfs"]

DRIVERS = "sys/bus/i2c/drivers"


class FakeSysfs:
    """`root` in place of "/". Values are rewritten in place, as whole numbers of one width, so no reader sees half."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path, text) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
        return file

    def rewrite(self, path, text) -> None:
        descriptor = os.open(self.root / path, os.O_WRONLY)
        os.pwrite(descriptor, f"{text}\n".encode(), 0)
        os.close(descriptor)

    def iio(self, chip, number, rails, running_mode=0, ui=True) -> str:
        """A chip of JetPack 4: `rails` are (name, mV, mA)."""
        folder = f"{DRIVERS}/ina3221x/{chip}/iio:device{number}"
        self.write(f"{folder}/running_mode", running_mode)
        for channel, (name, mv, ma) in enumerate(rails):
            self.write(f"{folder}/rail_name_{channel}", name)
            self.write(f"{folder}/in_voltage{channel}_input", mv)
            self.write(f"{folder}/in_current{channel}_input", ma)
            self.write(f"{folder}/in_power{channel}_input", mv * ma // 1000)
            # An idle chip answers 0 here, so it is a trap.
            self.write(f"{folder}/in_power{channel}_trigger_input", 0)
            if ui:
                self.write(f"{folder}/ui_input_{channel}", f"{mv} {ma}")
        return folder

    def hwmon(self, chip, number, rails, samples=1, update_interval=7) -> str:
        """A chip of JetPack 5 and later."""
        folder = f"{DRIVERS}/ina3221/{chip}/hwmon/hwmon{number}"
        self.write(f"{folder}/name", "ina3221")
        self.write(f"{folder}/samples", samples)
        self.write(f"{folder}/update_interval", update_interval)
        for channel, (name, mv, ma) in enumerate(rails, start=1):
            self.write(f"{folder}/in{channel}_label", name)
            self.write(f"{folder}/in{channel}_input", mv)
            self.write(f"{folder}/curr{channel}_input", ma)
            self.write(f"{folder}/in{channel + 3}_input", 12)
        self.write(f"{folder}/in7_label", "sum of shunt voltages")
        self.write(f"{folder}/in7_input", 36)
        return folder

    def ina238(self, chip, number, label, uw) -> str:
        """The input of an AGX Thor."""
        folder = f"{DRIVERS}/ina238/{chip}/hwmon/hwmon{number}"
        self.write(f"{folder}/name", "ina238")
        self.write(f"{folder}/label", label)
        self.write(f"{folder}/power1_input", uw)
        return folder

    def rapl(self, zone, name, energy_uj, range_uj=262143328850) -> str:
        """A zone of powercap: "intel-rapl:0", "intel-rapl:0:2"."""
        folder = f"sys/class/powercap/{zone}"
        self.write(f"{folder}/name", name)
        self.write(f"{folder}/energy_uj", energy_uj)
        self.write(f"{folder}/max_energy_range_uj", range_uj)
        return folder
