"""The driver of a deploy: state by state; whatever fails before the commit leaves the device as it was."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from edgesynth.deploy.agent_file import AgentFile, packed_agent
from edgesynth.deploy.board import BoardSession
from edgesynth.deploy.bootstrap import agent_on_device, probe
from edgesynth.deploy.journal import DeployJournal, journal_path
from edgesynth.deploy.lease import AgentLease
from edgesynth.deploy.measuring import measure
from edgesynth.deploy.package import Package
from edgesynth.deploy.preflight import Finding, examine
from edgesynth.deploy.record import DeployRecord, FindingInfo, StateInfo
from edgesynth.deploy.steps import STATES, Outcome
from edgesynth.deploy.upload import upload
from edgesynth.devices.transport import Transport
from edgesynth.errors import BusyDeviceError, DeviceError, EdgesynthError, IncompatibleError, StorageError
from edgesynth.records import Measurement

__all__ = ["DeployFailedError", "Deployment", "Request", "open_session"]

# A session lets go of its lock after 20 s without a sign of life; who missed two of them is dead.
SILENT_S, PATIENCE_S, LOOK_S = 7.0, 40.0, 1.0

Tell = Callable[[str], None]
Observer = Callable[[str, Literal["before", "after"]], None]


class DeployFailedError(Exception):
    """A deploy that failed: `record` says how far it came, `cause` why."""

    def __init__(self, record: DeployRecord, cause: EdgesynthError) -> None:
        super().__init__(str(cause))
        self.record = record
        self.cause = cause


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
class _Progress:
    """What a deploy has found out so far."""

    states: list[StateInfo] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    staged: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] | None = None
    former: str | None = None
    current: str | None = None
    measurement: Measurement | None = None


class Deployment:
    """One deploy over one connection. `tell` gets a line as each state ends. `observer` is called before and after each
    state: for tests that break things just there.

    `run` returns the record of a deploy that is good; it raises DeployFailedError, and the device is then as it was.
    """

    def __init__(
        self, request: Request, transport: Transport, tell: Tell = lambda text: None, observer: Observer | None = None
    ) -> None:
        self._request = request
        self._transport = transport
        self._tell = tell
        self._observer = observer or (lambda state, when: None)
        self._now = _Progress()
        self._begin_s = time.monotonic()
        self._journal = DeployJournal(
            journal_path(), host=transport.host, name=request.name, target=request.package.target.name
        )
        self._session: BoardSession
        self._agent: AgentFile
        self._lease: AgentLease

    def run(self) -> DeployRecord:
        """All states, or only the first where there is nothing to do."""
        self._journal.write(event="begin", holder=self._request.holder)
        outcome: Literal["deployed", "unchanged"] = "deployed"
        try:
            with ExitStack() as held:
                try:
                    self._state("lease", lambda: self._take(held))
                    self._state("preflight", self._preflight)
                    self._state("agent", self._install)
                    self._state("upload", self._upload)
                    if self._now.staged["state"] == "current":
                        outcome = "unchanged"
                    else:
                        self._rest()
                except EdgesynthError as error:
                    self._undo(error)
                    raise
        except EdgesynthError as error:
            raise DeployFailedError(self._record("failed", str(error)), error) from error
        finally:
            self._journal.write(event="end", states=[(each.name, each.outcome) for each in self._now.states])
        return self._record(outcome, None)

    def plan(self) -> DeployRecord:
        """What `run` would do, without changing anything. Raises DeployFailedError where it would be refused."""
        try:
            with ExitStack() as held:
                agent = held.enter_context(packed_agent())
                held.enter_context(self._transport)
                self._agent = agent()
                words = held.enter_context(self._words())
                self._session = held.enter_context(BoardSession(self._transport, words, self._options(look=True)))
                self._state("preflight", self._preflight)
                staged = self._session.ask("foresee", order=self._request.package.order(self._request.name))
        except EdgesynthError as error:
            raise DeployFailedError(self._record("failed", str(error)), error) from error
        self._now.staged = staged
        self._now.states = [
            StateInfo(name=each.name, outcome=outcome, seconds=0.0, detail=detail)
            for each in STATES
            for outcome, detail in [self._foreseen(each.name, each.does, staged["state"])]
        ]
        return self._record("planned", None)

    def _foreseen(self, name: str, does: str, state: str) -> tuple[Outcome, str]:
        installed = self._now.facts["agent_installed"]
        if name == "agent" and installed == self._agent.version:
            return "kept", f"version {installed} is there"
        if name == "upload" and state == "partial":
            return "planned", f"{does} ({self._request.package.bytes:,} bytes at most)"
        if state == "current" and name not in ("lease", "preflight", "agent"):
            return "skipped", "this release is the current one"
        if state == "complete" and name in ("upload", "build", "parity", "smoke"):
            return "kept", "this release is there"
        return "planned", does

    def _rest(self) -> None:
        complete = self._now.staged["state"] == "complete"
        for name, act in (("build", self._build), ("parity", self._parity), ("smoke", self._smoke)):
            self._state(name, (lambda: ("kept", "this release is there")) if complete else act)
        self._state("activate", self._activate)
        self._state("measure", self._measure)
        self._state("commit", self._commit)

    def _state(self, name: str, act: Callable[[], tuple[Outcome, str]]) -> None:
        begin_s = time.monotonic()
        outcome: Outcome = "failed"
        detail = ""
        try:
            self._observer(name, "before")
            outcome, detail = act()
            self._observer(name, "after")
        except BaseException as error:
            outcome, detail = "failed", str(error)
            raise
        finally:
            seconds = round(time.monotonic() - begin_s, 3)
            self._now.states.append(StateInfo(name=name, outcome=outcome, seconds=seconds, detail=detail))
            self._journal.write(event="state", state=name, outcome=outcome, seconds=seconds, detail=detail)
            self._tell(f"{name}: {'' if outcome == 'done' else outcome + ', '}{detail} ({seconds:.1f} s)")

    def _take(self, held: ExitStack) -> tuple[Outcome, str]:
        agent = held.enter_context(packed_agent())
        held.enter_context(self._transport)
        self._agent = agent()
        words = held.enter_context(self._words())
        self._session = held.enter_context(open_session(self._transport, words, self._options(), self._tell))
        self._lease = held.enter_context(AgentLease(self._transport, self._session, self._request.holder))
        leased = self._lease.take()
        recovered = self._session.hello.get("recovered")
        undone = f"; undid a deploy of {', '.join(recovered)} that was cut off" if recovered else ""
        return "done", ("locked, and leased from its agent" if leased else "locked") + undone

    @contextmanager
    def _words(self) -> Iterator[list[str]]:
        request = self._request
        found = probe(self._transport, self._agent, request.user)
        with agent_on_device(self._transport, self._agent, found, request.user) as words:
            yield words

    def _options(self, look: bool = False) -> list[str]:
        request = self._request
        options = ["--user"] if request.user else ["--root", self._transport.root]
        return [*options, "--look"] if look else [*options, "--holder", request.holder]

    def _preflight(self) -> tuple[Outcome, str]:
        request, package = self._request, self._request.package
        self._now.facts = facts = self._session.ask("look")
        self._now.former = self._now.current = facts["networks"].get(request.name)
        self._now.findings = examine(facts, package.target, package.bytes, time.time(), request.allow_simulated)
        errors = [each for each in self._now.findings if each.severity == "error"]
        for each in self._now.findings:
            if each.severity == "warning":
                self._tell(f"warning: {each}")
        if errors:
            message = f"{self._transport.host}: " + "; ".join(map(str, errors))
            if errors[0].what == "disk":
                raise StorageError(message)
            raise IncompatibleError(message) if errors[0].refuses else DeviceError(message)
        runtime = facts["runtime"]
        board = facts["model"] or facts["machine"]
        return "done", f"{board}, {runtime['backend']} {runtime['version']}, Python {facts['python']}"

    def _install(self) -> tuple[Outcome, str]:
        found = self._session.ask("agent")
        if not found["changed"]:
            return "kept", f"version {found['version']} runs"
        self._lease.take_again()
        former = "" if found["former"] in (None, found["version"]) else f", was {found['former']}"
        return "done", f"version {found['version']} is ready{former}"

    def _upload(self) -> tuple[Outcome, str]:
        staged, sent = upload(self._session, self._transport, self._request.package, self._request.name)
        self._now.staged = staged
        if staged["state"] == "current":
            return "kept", f"release {staged['id']} is the current one: no change"
        if staged["state"] == "complete":
            return "kept", f"release {staged['id']} is there"
        return "done", f"{sent:,} of {self._request.package.bytes:,} bytes sent, SHA-256 compared"

    def _build(self) -> tuple[Outcome, str]:
        self._now.engine = engine = self._session.ask("build")
        self._now.warnings += engine["warnings"]
        for warning in engine["warnings"]:
            self._tell(f"warning: {warning}")
        detail = f"{engine['backend']} {engine['version']}, {engine['precision']}"
        return ("kept" if engine["kept"] else "done"), detail

    def _parity(self) -> tuple[Outcome, str]:
        found = self._session.ask("parity")
        same = found["argmax_agreement"]
        agreement = "" if same is None else f", same answer on {same:.1%}"
        return "done", f"greatest error {found['max_abs_error']:.2g}{agreement} of {found['images']} images"

    def _smoke(self) -> tuple[Outcome, str]:
        found = self._session.ask("smoke")
        return "done", f"{found['runs']} runs, {found['latency_ms']:.3g} ms each"

    def _activate(self) -> tuple[Outcome, str]:
        found = self._session.ask("activate")
        self._now.current = found["id"]
        return "done", f"{found['folder']} is {found['id']}, was {found['from'] or 'nothing'}"

    def _measure(self) -> tuple[Outcome, str]:
        if self._request.tier == "none":
            return "skipped", "as asked"
        facts = self._now.facts
        simulated = facts["simulated"] is not None and self._request.tier == "auto"
        record = measure(self._lease, self._request.package, facts, simulated)
        self._now.measurement = record
        latency = "unknown" if record.latency_ms is None else f"{record.latency_ms.mean:.3g} ms"
        energy = "energy unknown"
        if record.inferences_per_joule is not None:
            energy = f"{record.inferences_per_joule:.3g} inferences/J"
        return "done", f"{record.source}, {record.tier}: {latency}, {energy}"

    def _commit(self) -> tuple[Outcome, str]:
        record = self._now.measurement
        measurement = None if record is None else record.model_dump(mode="json")
        found = self._session.ask("commit", keep=self._request.keep, measurement=measurement)
        gone = found["removed"]
        return "done", f"release {found['id']}" + (f", removed {', '.join(gone)}" if gone else "")

    def _undo(self, error: EdgesynthError) -> None:
        """Have the device undo what was not committed, and add to the error what is so there now.

        An interrupt does not come here: the end of the session has the same effect, also in the middle of a step.
        """
        if not self._now.staged:
            return
        try:
            now = self._session.ask("abort", drop=isinstance(error, StorageError))["current"]
        except EdgesynthError:
            self._now.current = None
            kept = "the device undoes it by itself, within half a minute or at the next deploy"
        else:
            self._now.current = now
            kept = f"{self._request.name} is as it was ({f'release {now}' if now else 'not deployed'})"
        error.args = (f"{error}; {kept}", *error.args[1:])

    def _record(
        self, outcome: Literal["deployed", "unchanged", "failed", "planned"], error: str | None
    ) -> DeployRecord:
        now, request = self._now, self._request
        folder = now.staged.get("folder")
        if folder is not None:
            folder = f"{folder.rpartition('/releases/')[0]}/current"
        return DeployRecord(
            schema="edgesynth.deploy/1",
            host=self._transport.host,
            target=request.package.target.name,
            name=request.name,
            outcome=outcome,
            release=now.staged.get("id"),
            former=now.former,
            current=now.current,
            folder=folder,
            engine=now.engine,
            states=now.states,
            findings=[
                FindingInfo(severity=f.severity, what=f.what, reason=f.reason, command=f.command) for f in now.findings
            ],
            measurement=now.measurement,
            warnings=[*request.package.warnings, *now.warnings],
            seconds=round(time.monotonic() - self._begin_s, 3),
            error=error,
        )


@contextmanager
def open_session(transport: Transport, words: list[str], options: list[str], tell: Tell) -> Iterator[BoardSession]:
    """A session on the device. One that holds the lock and is silent has been cut off: it is waited for."""
    with ExitStack() as held:
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                session = held.enter_context(BoardSession(transport, words, options))
                break
            except BusyDeviceError as error:
                if error.silent_s is None or error.silent_s < SILENT_S or time.monotonic() > end_s:
                    raise
                tell(f"waiting for a deploy that was cut off: {error}")
                time.sleep(LOOK_S)
        yield session
