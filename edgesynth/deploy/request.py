"""What is asked of a deploy, how far it has come, and how it says that it failed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from edgesynth.deploy.package import Package
from edgesynth.deploy.preflight import Finding
from edgesynth.deploy.record import DeployRecord, FindingInfo, StateInfo
from edgesynth.errors import EdgesynthError
from edgesynth.records import Measurement

__all__ = ["DeployFailedError", "Progress", "Request", "Tell"]

Tell = Callable[[str], None]


class DeployFailedError(EdgesynthError):
    """A deploy that failed: `record` says how far it came, `cause` why; its exit code is that of the cause."""

    def __init__(self, record: DeployRecord, cause: EdgesynthError) -> None:
        super().__init__(str(cause))
        self.record = record
        self.cause = cause
        self.exit_code = cause.exit_code


@dataclass(frozen=True)
class Request:
    """`keep` releases stay. `user`: into the home of the user who logs in, without root. `holder` is told to whoever
    finds the device busy."""

    package: Package
    name: str
    holder: str
    keep: int = 3
    user: bool = False
    allow_simulated: bool = False
    tier: Literal["auto", "quick", "none"] = "auto"


@dataclass
class Progress:
    """What a deploy to `host` has found out so far."""

    host: str
    request: Request
    begin_s: float = field(default_factory=time.monotonic)
    states: list[StateInfo] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    staged: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] | None = None
    former: str | None = None
    current: str | None = None
    measurement: Measurement | None = None

    def record(self, outcome: Literal["deployed", "unchanged", "planned"]) -> DeployRecord:
        return self._record(outcome, None)

    def failed(self, cause: EdgesynthError) -> DeployFailedError:
        return DeployFailedError(self._record("failed", str(cause)), cause)

    def _record(
        self, outcome: Literal["deployed", "unchanged", "failed", "planned"], error: str | None
    ) -> DeployRecord:
        folder = self.staged.get("folder")
        if folder is not None:
            folder = f"{folder.rpartition('/releases/')[0]}/current"
        return DeployRecord(
            schema="edgesynth.deploy/1",
            host=self.host,
            target=self.request.package.target.name,
            name=self.request.name,
            outcome=outcome,
            release=self.staged.get("id"),
            former=self.former,
            current=self.current,
            folder=folder,
            engine=self.engine,
            states=self.states,
            findings=[
                FindingInfo(severity=each.severity, what=each.what, reason=each.reason, command=each.command)
                for each in self.findings
            ],
            measurement=self.measurement,
            warnings=[*self.request.package.warnings, *self.warnings],
            seconds=round(time.monotonic() - self.begin_s, 3),
            error=error,
        )
