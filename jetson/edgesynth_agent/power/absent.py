"""No power sensor."""

from typing import Any, Dict

from edgesynth_agent.power.base import PowerSource, PowerTrace

__all__ = ["AbsentPower"]


class AbsentPower(PowerSource):
    """Has no samples and says why, so that energy is reported as unknown rather than as zero."""

    def __init__(self, absence: str) -> None:
        self.absence = absence

    def start(self) -> None:
        pass

    def stop(self) -> PowerTrace:
        return PowerTrace([], invalid=self.absence)

    def facts(self) -> Dict[str, Any]:
        return {"sensor": None, "reason": self.absence}
