"""No power sensor."""

from typing import List

from edgesynth_agent.power.base import PowerSample, PowerSource

__all__ = ["NO_SENSOR", "AbsentPower"]

NO_SENSOR = "this version of the agent reads no power sensor"


class AbsentPower(PowerSource):
    """Has no samples and says why, so that energy is reported as unknown rather than as zero."""

    def __init__(self, absence: str) -> None:
        self.absence = absence

    def start(self) -> None:
        pass

    def stop(self) -> List[PowerSample]:
        return []
