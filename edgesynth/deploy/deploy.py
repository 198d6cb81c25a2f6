"""The driver of a deploy: state by state; whatever fails before the commit leaves the device as it was."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

from edgesynth.deploy.agent_file import packed_agent
from edgesynth.deploy.board import BoardSession
from edgesynth.deploy.journal import DeployJournal, journal_path
from edgesynth.deploy.lease import AgentLease
from edgesynth.deploy.measuring import measure
from edgesynth.deploy.plan import look
from edgesynth.deploy.record import DeployRecord, StateInfo
from edgesynth.deploy.request import Progress, Request, Tell
from edgesynth.deploy.session import open_session
from edgesynth.deploy.steps import Outcome
from edgesynth.deploy.upload import upload
from edgesynth.devices.transport import Transport
from edgesynth.errors import DeviceError, EdgesynthError, StorageError

__all__ = ["Deployment", "Observer"]

Observer = Callable[[str, Literal["before", "after"]], None]


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
        self._now = Progress(transport.host, request)
        self._journal = DeployJournal(
            journal_path(), host=transport.host, name=request.name, target=request.package.target.name
        )
        self._session: BoardSession
        self._lease: AgentLease

    def run(self) -> DeployRecord:
        """All states, or only the first where there is nothing to do."""
        self._journal.write(event="begin", holder=self._request.holder)
        outcome: Literal["deployed", "unchanged"] = "deployed"
        try:
            with ExitStack() as held:
                try:
                    self._state("lease", lambda: self._take(held))
                    self._state("preflight", lambda: look(self._session, self._now, self._tell))
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
            raise self._now.failed(error) from error
        finally:
            self._journal.write(event="end", states=[(each.name, each.outcome) for each in self._now.states])
        return self._now.record(outcome)

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
        request, transport = self._request, self._transport
        agent = held.enter_context(packed_agent())
        held.enter_context(transport)
        session = open_session(transport, agent(), user=request.user, holder=request.holder, tell=self._tell)
        self._session = held.enter_context(session)
        self._lease = held.enter_context(AgentLease(transport, self._session, request.holder))
        leased = self._lease.take()
        recovered = self._session.hello.get("recovered")
        undone = f"; undid a deploy of {', '.join(recovered)} that was cut off" if recovered else ""
        return "done", ("locked, and leased from its agent" if leased else "locked") + undone

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
        connected = len(self._now.states) > 1  # the first state is behind
        broken = self._transport.broken() if connected and isinstance(error, DeviceError) else None
        if broken is not None:  # what else was noticed first (a socket that nobody listens on) comes from that
            error.args = (f"{self._transport.host}: {broken}", *error.args[1:])
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
