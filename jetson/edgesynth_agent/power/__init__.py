"""Where watts come from."""

from edgesynth_agent.power.absent import NO_SENSOR, AbsentPower
from edgesynth_agent.power.base import PowerSample, PowerSource
from edgesynth_agent.power.fake import FakePower

__all__ = ["NO_SENSOR", "AbsentPower", "FakePower", "PowerSample", "PowerSource"]
