"""What the rails of a TX2 carry when so many of its processors are busy. Pure functions; Python 3.6.

Three real lines of tegrastats, linearly in between (they are in tests/agent/data/tegrastats):
idle with all clocks at the maximum (tx2-r28-idle-locked.log), one processor busy (tx2-r28-swap-gustavz24.log), six busy
(tx2-r28-gist.log). The names are those of L4T R32. It is a model of the load and of nothing else: the clocks do not
enter, and no GPU computes.
"""

__all__ = ["BUSY_MOST", "RAILS", "VOLTS_MV", "milliamperes", "milliwatts"]

BUSY_MOST = 6.0
# By chip and channel of the two INA3221.
RAILS = (
    ("0-0040", ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI")),
    ("0-0041", ("VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR")),
)
# 19 V supplies the module; memory and WIFI hang on 4.8 V.
VOLTS_MV = {
    "VDD_IN": 19064, "VDD_SYS_CPU": 19064, "VDD_SYS_GPU": 19064, "VDD_SYS_SOC": 19064,
    "VDD_SYS_DDR": 4792, "VDD_4V0_WIFI": 4792,
}  # fmt: skip
_BUSY = (0.0, 1.0, 6.0)
_MILLIWATTS = {
    "VDD_IN": (3104, 5201, 7358),
    "VDD_SYS_CPU": (291, 1847, 3353),
    "VDD_SYS_GPU": (145, 154, 228),
    "VDD_SYS_SOC": (727, 924, 990),
    "VDD_SYS_DDR": (1248, 1305, 1318),
    "VDD_4V0_WIFI": (0, 0, 0),
}


def milliwatts(rail, busy):
    """The power of a rail with `busy` processors (0 to 6, fractions too) at work."""
    busy = min(max(busy, 0.0), BUSY_MOST)
    points = list(zip(_BUSY, _MILLIWATTS[rail]))
    (left, low), (right, high) = points[:2] if busy <= _BUSY[1] else points[1:]
    return low + (high - low) * (busy - left) / (right - left)


def milliamperes(rail, busy, noise):
    """The same as a current, whole milliamperes. `noise` is from -1 to 1.

    Lines one second apart differ by up to 10 mA on VDD_IN while nothing changes: its noise is half of that either way.
    """
    current = milliwatts(rail, busy) * 1000.0 / VOLTS_MV[rail]
    return max(0, int(round(current + (5.0 * noise if rail == "VDD_IN" else 0.0))))
