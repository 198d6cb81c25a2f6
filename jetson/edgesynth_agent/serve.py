"""`edgesynth-agent serve`: the parts put together, from start to stop."""

import argparse
import fcntl
import logging
import os
import signal
import stat
import threading

from edgesynth_agent import __version__
from edgesynth_agent.api import Parts
from edgesynth_agent.clock import MonotonicClock
from edgesynth_agent.device import Device
from edgesynth_agent.errors import BusyError, StorageError
from edgesynth_agent.job_store import JobStore
from edgesynth_agent.jobs import JobRunner
from edgesynth_agent.leases import Leases
from edgesynth_agent.machine import Machine
from edgesynth_agent.plan_folder import PlanFolder
from edgesynth_agent.room import Room
from edgesynth_agent.server import AgentServer
from edgesynth_agent.store import FILE, MODEL, Uploads, UploadStore
from edgesynth_agent.systemd import ServiceManager
from edgesynth_agent.traces import TraceFolder

__all__ = ["make_parts", "run_serve"]

# How often the server looks whether it is to stop: each look takes some microseconds from what is being measured.
_STOP_POLL_S = 0.2

_MIB = 1024 * 1024

_log = logging.getLogger("edgesynth_agent")


def run_serve(arguments: argparse.Namespace) -> int:
    """Answer until SIGTERM or SIGINT. Raises AgentError when that cannot begin."""
    manager = ServiceManager(os.environ, MonotonicClock())
    stop = _Stop()
    lock = _lock_folder(arguments.store)
    parts = make_parts(arguments)
    server = AgentServer(arguments.socket, parts, int(arguments.socket_mode, 8), manager.beat)
    for target, options in ((server.serve_forever, (_STOP_POLL_S,)), (parts.leases.watch, ())):
        threading.Thread(target=target, args=options, daemon=True).start()
    if arguments.until_eof:
        threading.Thread(target=_stop_at_eof, args=(stop,), daemon=True).start()
    _log.info("edgesynth-agent %s listens on %s", __version__, arguments.socket)
    manager.ready("listens on " + arguments.socket)
    stop.wait()
    manager.stopping()
    server.stop()
    parts.jobs.close()
    os.close(lock)
    return 0


def make_parts(arguments: argparse.Namespace) -> Parts:
    """Everything but the socket. Jobs that an agent left that was killed have ended afterwards."""
    folder = os.path.abspath(arguments.store)
    clock = MonotonicClock()
    room = Room(folder, arguments.store_mib * _MIB)
    uploads = Uploads(
        UploadStore(room, MODEL, arguments.model_mib * _MIB), UploadStore(room, FILE, arguments.file_mib * _MIB)
    )
    plans = PlanFolder(arguments.plans or os.path.join(folder, "plans"), arguments.plans_mib * _MIB)
    jobs = JobStore(os.path.join(folder, "jobs.sqlite"), arguments.keep_jobs)
    traces = TraceFolder(os.path.join(folder, "traces"), arguments.trace_mib * _MIB)
    for job_id in jobs.recover():
        _log.warning("job %s was interrupted", job_id)
    if jobs.moved is None:
        traces.keep_only(set(jobs.with_trace()))
    else:  # of the jobs that are lost the traces are all there is: they stay until the next start
        _log.error("the job store was damaged: it is %s now, and no earlier job is known", jobs.moved)
    for job_id in jobs.with_trace():
        if traces.bytes_of(job_id) is None:
            jobs.drop_trace(job_id)
    device = Device(folder, os.path.abspath(arguments.root))
    leases = Leases(clock)
    machine = Machine(arguments.runtime)
    runner = JobRunner(uploads, device, plans, jobs, traces, leases, machine, arguments.job_memory_mib)
    return Parts(clock, device, uploads, plans, jobs, traces, leases, runner, clock.now_s())


def _lock_folder(path: str) -> int:
    """Hold a folder for this process alone; the kernel lets go of it when the process ends, however it does.

    Raises StorageError for one that others may write to: what lies there is trusted, engines among it, and to load an
    engine is to run code. The group may, since on Ubuntu a user's folders are those of a group of that user alone.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
            whose = "it is another user's, or anybody may write to it"
            raise StorageError(whose, "the store " + path, "chmod o-w it, or give another --store")
        handle = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(error.strerror or str(error), "the store " + path, "give another --store") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise BusyError("an agent uses it already", "the store " + path, "stop it, or give another --store") from None
    return handle


class _Stop:
    """SIGTERM, SIGINT, or `now()` from any thread; `wait()` waits for one of them.

    A signal may reach the process in any thread, and a main thread that waits for a lock does not hear of it then: the
    interpreter writes it to a pipe wherever it comes (`signal.set_wakeup_fd`). For the main thread.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def now(self) -> None:
        os.write(self._writer, b"\0")

    def wait(self) -> None:
        os.read(self._reader, 1)


def _stop_at_eof(stop: _Stop) -> None:
    # os.read, because a thread that waits inside sys.stdin's lock can hang the interpreter's exit.
    while os.read(0, 4096):
        pass
    stop.now()
