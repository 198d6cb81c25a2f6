"""`edgesynth-agent deploy-session`: one deploy, told what to do over stdin, from the lock to its end.

A line of stdin is a JSON object: {"id": number, "do": name, …}. Each is answered by one line of stdout:
{"id", "result"} or {"id", "error": {what, where, next, kind}}. Before the first, stdout has {"session": 1, …}, or
{"error": …} where the device is busy. {"do": "ping"} is not answered: it tells that the workstation lives.

When stdin ends, or nothing has come for `--silence` seconds, the cable is cut or the workstation died: what runs is
killed, what was not committed is undone, and the lock is free. Cut off itself, the next session undoes it.
"""

import argparse
import json
import os
import queue
import select
import signal
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict, Optional, Tuple

from edgesynth_agent import __version__
from edgesynth_agent.child import WorkerProcess
from edgesynth_agent.errors import AgentError, EngineError, RequestError, internal_error
from edgesynth_agent.releases import store
from edgesynth_agent.releases.disk import disk_error
from edgesynth_agent.releases.install import AGENT, install_agent, remove_agent
from edgesynth_agent.releases.layout import Layout, checked_name, make_layout
from edgesynth_agent.releases.lock import DeployLock
from edgesynth_agent.releases.look import look
from edgesynth_agent.releases.relay import SocketRelay, sweep_relays
from edgesynth_agent.releases.service import ACCOUNT, AgentService, account_exists, choose_service
from edgesynth_agent.releases.steps import Steps
from edgesynth_agent.releases.uninstall import uninstall
from edgesynth_agent.releases.workers import run_in_worker

__all__ = ["run_session"]

_MOST_LINE_BYTES = 4 * 1024 * 1024
_STEP_LIMIT_S = 3600.0
_PROTOCOL = 1


def run_session(arguments: argparse.Namespace) -> int:
    """Do as stdin says until it ends; the exit code, 0 unless the session could not begin."""
    # What tools print must not end up between the answers: they get a descriptor of their own.
    answers = os.dup(1)
    os.dup2(2, 1)
    os.umask(0o022)
    # Root would leave byte code of whatever its workers import beside it.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    layout = make_layout(os.environ, arguments.root, arguments.user)
    if not layout.user:
        # sudo may keep $HOME: workers see what the agent's service will see, and nothing of a home.
        os.environ["PYTHONNOUSERSITE"] = "1"
    try:
        lock = None if arguments.look else DeployLock(layout, arguments.holder)
    except AgentError as error:
        _say(answers, {"error": _told(error)})
        return 3
    service = choose_service(layout, arguments.root, os.environ)
    session = Session(layout, service, lock, lambda document: _say(answers, document))
    reader = Reader(arguments.silence, lock, session.interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: reader.stop())
    reader.start()
    try:
        session.run(reader.lines)
    finally:
        if lock is not None:
            lock.close()
        if arguments.sent:
            _remove_sent(os.path.abspath(sys.argv[0]))
    return 0


class Reader:
    """Reads stdin in a thread of its own; `lines` gets each, and None at the end or after silence."""

    def __init__(self, silence_s: float, lock: Optional[DeployLock], on_end: Callable[[], None]) -> None:
        self.lines: "queue.Queue[Optional[Dict[str, Any]]]" = queue.Queue()
        self._silence_s = silence_s
        self._lock = lock
        self._on_end = on_end
        self._stopped, self._stopper = os.pipe()

    def start(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def stop(self) -> None:
        """As if stdin had ended. Takes no lock: a handler of signals interrupts whoever may hold it."""
        os.write(self._stopper, b".")

    def _read(self) -> None:
        """Whatever ends it, the session ends."""
        try:
            self._take_all()
        except OSError:
            pass  # of a connection that was reset: nothing more comes
        finally:
            self._on_end()
            self.lines.put(None)

    def _take_all(self) -> None:
        data = b""
        while select.select([0, self._stopped], [], [], self._silence_s)[0] == [0]:
            chunk = os.read(0, 65536)
            if not chunk or len(data) > _MOST_LINE_BYTES:
                break
            if self._lock is not None:
                self._lock.beat()
            *lines, data = (data + chunk).split(b"\n")
            for line in lines:
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            document = json.loads(line.decode())
        except (ValueError, RecursionError):
            document = {"do": "nonsense"}
        if isinstance(document, dict) and document.get("do") != "ping":
            self.lines.put(document)


class Session:
    """What the lines ask for. `lock` is None where nothing may be changed."""

    def __init__(
        self, layout: Layout, service: AgentService, lock: Optional[DeployLock], say: Callable[[Dict[str, Any]], None]
    ) -> None:
        self._layout = layout
        self._service = service
        self._lock = lock
        self._say = say
        self._guard = threading.Lock()
        self._worker: Optional[WorkerProcess] = None
        self._ended = False
        self._relay: Optional[SocketRelay] = None
        self._package: Optional[str] = None
        self._owner = _owner()
        holder = "" if lock is None else lock.holder
        self._steps = Steps(layout, self._in_worker, holder, self._owner, self._account)
        self._ops: Dict[str, Callable[[Dict[str, Any]], Any]] = {
            "look": lambda line: look(layout, service, self._steps.runtime(), os.environ),
            "foresee": lambda line: self._steps.foresee(line["order"]),
            "status": lambda line: {"networks": [store.status(layout, name) for name in store.names(layout)]},
        }
        if lock is not None:
            self._ops.update(self._changes(lock))

    def _changes(self, lock: DeployLock) -> Dict[str, Callable[[Dict[str, Any]], Any]]:
        layout, steps = self._layout, self._steps
        return {
            "agent": lambda line: self._install(),
            "socket": lambda line: {"path": self._socket()},
            "stage": lambda line: steps.stage(line["order"]),
            "verify": lambda line: steps.verify(),
            "build": lambda line: steps.build(),
            "parity": lambda line: steps.parity(),
            "smoke": lambda line: steps.smoke(),
            "activate": lambda line: steps.activate(),
            "commit": lambda line: steps.commit(line["keep"], line.get("measurement")),
            "abort": lambda line: steps.abort(bool(line.get("drop"))),
            "rollback": lambda line: {"id": store.rollback(layout, checked_name(line["name"]))},
            "remove": lambda line: store.remove(layout, checked_name(line["name"])),
            "uninstall": lambda line: uninstall(layout, lambda: remove_agent(layout, self._service), lock),
        }

    def run(self, lines: "queue.Queue[Optional[Dict[str, Any]]]") -> None:
        """Until None comes."""
        recovered = []
        if self._lock is not None:
            recovered = store.recover(self._layout)
        # Importing the runtimes takes a while, and whoever deploys will ask for it: meanwhile they do something else.
        threading.Thread(target=self._look_ahead, daemon=True).start()
        self._say({"session": _PROTOCOL, "agent": __version__, "recovered": recovered, "service": self._service.kind})
        try:
            while not self._ended:
                line = lines.get()
                if line is None:
                    break
                self._answer(line)
        finally:
            if self._lock is not None:
                store.recover(self._layout)
            if self._relay is not None:
                self._relay.close()
            self._service.close()

    def interrupt(self) -> None:
        """From another thread: nothing more is to be done."""
        with self._guard:
            self._ended = True
            if self._worker is not None:
                self._worker.kill()

    def _answer(self, line: Dict[str, Any]) -> None:
        begin_s = time.monotonic()
        try:
            op = self._ops.get(str(line.get("do")))
            if op is None:
                raise RequestError(
                    "'{}' is nothing to do here".format(line.get("do")), "the session", "update the agent"
                )
            try:
                result = op(line)
            except KeyError as error:
                raise RequestError("{} is missing".format(error), str(line["do"]), "update the workstation") from error
        except AgentError as error:
            self._say({"id": line.get("id"), "error": _told(error)})
        except OSError as error:
            where = str(error.filename or "this device")
            self._say({"id": line.get("id"), "error": _told(disk_error(error, where))})
        except Exception as error:
            traceback.print_exc()
            self._say({"id": line.get("id"), "error": _told(internal_error(error, "deploy-session"))})
        else:
            self._say({"id": line.get("id"), "result": result, "seconds": round(time.monotonic() - begin_s, 3)})

    def _look_ahead(self) -> None:
        try:
            self._steps.runtime()
        except AgentError:
            pass  # whoever asks is told

    def _in_worker(self, order: Dict[str, Any]) -> Dict[str, Any]:
        try:
            return run_in_worker(order, _STEP_LIMIT_S, self._started, self._package)
        finally:
            with self._guard:
                self._worker = None

    def _started(self, worker: WorkerProcess) -> None:
        with self._guard:
            self._worker = worker
            if self._ended:
                worker.kill()
                raise EngineError("the session ended", "this session", "deploy again")

    def _account(self) -> Optional[str]:
        """Who builds and tries engines: not root, where root runs this session and the agent has its user."""
        return ACCOUNT if os.geteuid() == 0 and self._service.kind == "systemd" and account_exists() else None

    def _install(self) -> Dict[str, Any]:
        found = install_agent(self._layout, self._service, sys.argv[0])
        # From here on workers, which may be of another user, run what everybody may read.
        self._package = os.path.join(self._layout.agents, str(found["version"]), AGENT)
        return found

    def _socket(self) -> str:
        """Where the user who logged in reaches the agent."""
        if self._owner is None:
            return self._layout.socket
        if self._relay is None:
            sweep_relays()
            self._relay = SocketRelay(self._layout.socket, self._owner)
        return self._relay.path


def _remove_sent(path: str) -> None:
    """A workstation that was cut off does not come back for it."""
    try:
        os.unlink(path)
        os.rmdir(os.path.dirname(path))
    except OSError:
        pass  # it is in a folder for what is temporary


def _owner() -> Optional[Tuple[int, int]]:
    """(uid, gid) of the user who came here by sudo; None where it is this process's."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not (uid.isdigit() and gid.isdigit()) or uid == "0":
        return None
    return int(uid), int(gid)


def _told(error: AgentError) -> Dict[str, Any]:
    document: Dict[str, Any] = dict(error.document(), kind=type(error).__name__)
    silent_s = getattr(error, "silent_s", None)
    return document if silent_s is None else dict(document, silent_s=silent_s)


def _say(descriptor: int, document: Dict[str, Any]) -> None:
    data = json.dumps(document, allow_nan=False).encode() + b"\n"
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass  # nobody listens any more: stdin tells
