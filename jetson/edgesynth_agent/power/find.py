"""Which power sensor to use on this machine."""

from typing import Callable, Dict, Optional, Union

from edgesynth_agent.clock import Clock
from edgesynth_agent.power.absent import AbsentPower
from edgesynth_agent.power.base import PowerSource
from edgesynth_agent.power.ina3221 import find_ina3221
from edgesynth_agent.power.jtop import find_jtop
from edgesynth_agent.power.polled import PolledPower, Sensor
from edgesynth_agent.power.rapl import find_rapl
from edgesynth_agent.power.tegrastats import find_tegrastats

__all__ = ["find_power_source"]

# The best first. jtop is for those who ask for it.
_ORDER = ("ina3221", "tegrastats", "rapl")


def find_power_source(
    clock: Clock, root: str = "/", home: Optional[str] = None, only: Optional[str] = None
) -> PowerSource:
    """The best source that this machine has, or an AbsentPower with the reasons against each.

    `root` is where /sys and /usr/bin are looked for, `home` where an old board keeps its tegrastats. `only` names one
    of ina3221, tegrastats, rapl, jtop and leaves out the others; another name raises KeyError.
    """
    finders: Dict[str, Callable[[], Union[PowerSource, Sensor, str]]] = {
        "ina3221": lambda: find_ina3221(root),
        "tegrastats": lambda: find_tegrastats(clock, root, home),
        "rapl": lambda: find_rapl(root),
        "jtop": find_jtop,
    }
    reasons = []
    for name in _ORDER if only is None else (only,):
        found = finders[name]()
        if isinstance(found, PowerSource):
            return found
        if isinstance(found, Sensor):
            return PolledPower(found, clock)
        reasons.append(found)
    return AbsentPower("no power sensor that the agent can read: " + "; ".join(reasons))
