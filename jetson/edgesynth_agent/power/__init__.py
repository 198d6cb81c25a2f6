"""Where watts come from."""

from edgesynth_agent.power.absent import AbsentPower
from edgesynth_agent.power.base import PowerSample, PowerSource, PowerTrace
from edgesynth_agent.power.fake import FakePower
from edgesynth_agent.power.find import find_power_source
from edgesynth_agent.power.replay import ReplayPower
from edgesynth_agent.power.trace_file import read_trace, write_trace

__all__ = [
    "AbsentPower",
    "FakePower",
    "PowerSample",
    "PowerSource",
    "PowerTrace",
    "ReplayPower",
    "find_power_source",
    "read_trace",
    "write_trace",
]
