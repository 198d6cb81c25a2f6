"""What came of a deploy (`edgesynth.deploy/1`)."""

from typing import Any, Literal

from pydantic import Field

from edgesynth.records import Measurement, Record

__all__ = ["DeployRecord", "FindingInfo", "StateInfo"]


class FindingInfo(Record):
    """One finding of the preflight; `command` mends it on the device."""

    severity: Literal["error", "warning"]
    what: str
    reason: str
    command: str | None


class StateInfo(Record):
    """One state, its wall time, and what came of it, in words."""

    name: str
    outcome: Literal["done", "kept", "skipped", "failed", "planned"]
    seconds: float
    detail: str


class DeployRecord(Record):
    """`edgesynth.deploy/1`. `release` is the one that was deployed, `former` what was current before, `current` what is
    now; None where there is none, or it is not known because the device is out of reach (`error` says so)."""

    schema_: Literal["edgesynth.deploy/1"] = Field("edgesynth.deploy/1", alias="schema")
    host: str
    target: str
    name: str
    outcome: Literal["deployed", "unchanged", "failed", "planned"]
    release: str | None
    former: str | None
    current: str | None
    folder: str | None
    engine: dict[str, Any] | None
    states: list[StateInfo]
    findings: list[FindingInfo]
    measurement: Measurement | None
    warnings: list[str]
    seconds: float
    error: str | None
