"""What a deploy would do: the plan of it, and the look at the device that it shares with a deploy."""

import time
from contextlib import ExitStack

from edgesynth.deploy.agent_file import packed_agent
from edgesynth.deploy.board import BoardSession
from edgesynth.deploy.preflight import examine
from edgesynth.deploy.record import DeployRecord, StateInfo
from edgesynth.deploy.request import Progress, Request, Tell
from edgesynth.deploy.session import open_session
from edgesynth.deploy.steps import STATES, Outcome, State
from edgesynth.devices.transport import Transport
from edgesynth.errors import DeviceError, EdgesynthError, IncompatibleError, StorageError

__all__ = ["look", "plan"]


def plan(request: Request, transport: Transport, tell: Tell = lambda text: None) -> DeployRecord:
    """The record of a deploy that has yet to be made; nothing is changed. Raises DeployFailedError where it would be
    refused."""
    now = Progress(transport.host, request)
    try:
        with ExitStack() as held:
            packed = held.enter_context(packed_agent())
            held.enter_context(transport)
            agent = packed()
            session = held.enter_context(open_session(transport, agent, user=request.user, holder=None, tell=tell))
            look(session, now, tell)
            now.staged = session.ask("foresee", order=request.package.order(request.name))
    except EdgesynthError as error:
        raise now.failed(error) from error
    for state in STATES:
        outcome, detail = _foreseen(state, now, agent.version)
        now.states.append(StateInfo(name=state.name, outcome=outcome, seconds=0.0, detail=detail))
    return now.record("planned")


def look(session: BoardSession, now: Progress, tell: Tell) -> tuple[Outcome, str]:
    """The preflight: what was found is in `now`. Raises IncompatibleError, StorageError or DeviceError where it forbids
    a deploy."""
    request, package = now.request, now.request.package
    now.facts = facts = session.ask("look")
    now.former = now.current = facts["networks"].get(request.name)
    now.findings = examine(facts, package.target, package.bytes, time.time(), request.allow_simulated)
    for each in now.findings:
        if each.severity == "warning":
            tell(f"warning: {each}")
    errors = [each for each in now.findings if each.severity == "error"]
    if errors:
        message = f"{now.host}: " + "; ".join(map(str, errors))
        if errors[0].what == "disk":
            raise StorageError(message)
        raise IncompatibleError(message) if errors[0].refuses else DeviceError(message)
    runtime, board = facts["runtime"], facts["model"] or facts["machine"]
    return "done", f"{board}, {runtime['backend']} {runtime['version']}, Python {facts['python']}"


def _foreseen(state: State, now: Progress, version: str) -> tuple[Outcome, str]:
    found = now.staged["state"]
    if state.name == "agent" and now.facts["agent_installed"] == version:
        return "kept", f"version {version} is there"
    if state.name == "upload" and found == "partial":
        return "planned", f"{state.does} ({now.request.package.bytes:,} bytes at most)"
    if found == "current" and state.name not in ("lease", "preflight", "agent"):
        return "skipped", "this release is the current one"
    if found == "complete" and state.name in ("upload", "build", "parity", "smoke"):
        return "kept", "this release is there"
    return "planned", state.does
