"""The power that jetson-stats (`jtop`) tells, where its user installed it: to cross-check, never the first choice.

It is AGPL-3.0, so it is imported where this runs and shipped nowhere. It updates once in half a second at most, and
its own total adds a rail twice on AGX Orin (rbonghi/jetson_stats issue 344), so the total here is made of its rails.
"""

import importlib
from typing import Any, Dict, List, Optional, Union

from edgesynth_agent.power.base import PowerSample
from edgesynth_agent.power.polled import Sensor
from edgesynth_agent.power.readings import Raw, Reading
from edgesynth_agent.rails import total_rule

__all__ = ["JtopSensor", "find_jtop"]

_INTERVAL_S = 0.5
_MOST_W = 400.0


def find_jtop() -> Union["JtopSensor", str]:
    """The sensor, not yet known to work; else why there is none."""
    try:
        importlib.import_module("jtop")
    except Exception as error:  # a broken installation raises whatever it likes
        return "no jtop: {}".format(error)
    return JtopSensor()


class JtopSensor(Sensor):
    """Rails as the service of jetson-stats reads them. What the package raises comes out as OSError."""

    name = "jtop"
    period_s = 0.1
    most_w = _MOST_W
    caveat = "power is as jetson-stats tells it"

    def __init__(self) -> None:
        self._client: Any = None
        self._rule: Optional[str] = None

    def open(self) -> None:
        self.close()
        try:
            client = importlib.import_module("jtop").jtop(interval=_INTERVAL_S)
            client.start()
        except Exception as error:
            raise OSError("jtop: {}".format(error)) from error
        self._client = client

    def read(self) -> Raw:
        try:
            rails = self._client.power["rail"]
            return tuple(sorted((str(name), float(rail["power"])) for name, rail in rails.items()))
        except Exception as error:
            raise OSError("jtop: {}".format(error)) from error

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def samples(self, readings: List[Reading], update_period_s: Optional[float]) -> List[PowerSample]:
        return [PowerSample(reading.time_s, self._watts(reading.raw)) for reading in readings]

    def facts(self) -> Dict[str, Any]:
        return {"total_rule": self._rule}

    def _watts(self, raw: Raw) -> float:
        rails: Dict[str, float] = dict(raw)  # type: ignore[arg-type]
        rule = total_rule(list(rails))
        if rule.reason:
            raise ValueError(rule.reason)
        self._rule = rule.text
        return sum(rails[name] for name in rule.rails) / 1e3
