"""Worker processes as the agent sees them: start, listen, kill, and say how they ended."""

import collections
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any, Deque, Dict, Iterator, Optional

from edgesynth_agent.limits import JobLimits

__all__ = ["WorkerProcess", "call_worker"]

# Where `import edgesynth_agent` finds this package: a folder or the .pyz, both are good for PYTHONPATH.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_MAX_EVENT_BYTES = 16 * 1024 * 1024
_STDERR_LINES = 20
_LAST_WORDS_S = 2.0
_PROBE_LIMITS = JobLimits(memory_mib=None, cpu_s=None, file_mib=None)


class WorkerProcess:
    """One `edgesynth-agent worker`, in a session and process group of its own, carrying out one order.

    It writes events, one JSON object a line; see `worker`. It ends when its stdin does and when the thread ends that
    constructed this, so it cannot outlive an agent that was killed. `package` is where it finds this package. `events`,
    then `finish` belong to that thread; `kill` may come from any.
    """

    def __init__(self, order: Dict[str, Any], limits: JobLimits = _PROBE_LIMITS, package: str = _ROOT) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgesynth_agent", "worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # -m puts the working folder before everything on the import path: it must not be anyone's upload.
            cwd="/",
            env=_environment(package),
            start_new_session=True,
        )
        self._stdin: Any = self._process.stdin
        self._stdout: Any = self._process.stdout
        self._stderr: Any = self._process.stderr
        self._reaping = threading.Lock()
        self._last_lines: Deque[str] = collections.deque(maxlen=_STDERR_LINES)
        self._stderr_reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._stderr_reader.start()
        self._send(dict(order, parent=os.getpid(), limits=limits.document()))

    def events(self) -> Iterator[Dict[str, Any]]:
        """What the worker says until its result or its error, or until it ends. A line that is no event is left out."""
        while True:
            line = self._stdout.readline(_MAX_EVENT_BYTES)
            if not line:
                return
            try:
                event = json.loads(line.decode())
            except ValueError:  # cut off by its death, or too long
                continue
            if isinstance(event, dict):
                yield event
                if "result" in event or "error" in event:
                    return  # a child that it left behind may hold the pipe open

    def kill(self) -> None:
        """End the worker and all its children now. Does nothing when it has ended."""
        with self._reaping:
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def finish(self) -> Optional[str]:
        """Wait for the end; None for a good one, else how it ended in words ("was killed by SIGSEGV")."""
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        # Not reaped yet, so the number of its group cannot belong to anybody else: end what it may have left.
        self.kill()
        with self._reaping:
            code = self._process.wait()
        self._stderr_reader.join(_LAST_WORDS_S)  # a process that left the group may hold on to stderr
        pipes = [self._stdin, self._stdout]
        if not self._stderr_reader.is_alive():  # closing what another thread reads would wait for it
            pipes.append(self._stderr)
        for pipe in pipes:
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        if code == 0:
            return None
        return "was killed by {}".format(_signal_name(-code)) if code < 0 else "ended with exit code {}".format(code)

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        return "\n".join(self._last_lines)

    def _send(self, order: Dict[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps(order).encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError:
            pass  # it died at once; finish() tells

    def _read_stderr(self) -> None:
        while True:
            line = self._stderr.readline(4096)
            if not line:
                return
            self._last_lines.append(line.decode("utf-8", "replace").rstrip())


def call_worker(order: Dict[str, Any], limit_s: float) -> Optional[Dict[str, Any]]:
    """Carry out an order that answers with one result; None when there is none within `limit_s`."""
    worker = WorkerProcess(order)
    timer = threading.Timer(limit_s, worker.kill)
    timer.daemon = True
    timer.start()
    result = None
    for event in worker.events():
        result = event.get("result", result)
    worker.finish()
    timer.cancel()
    return result


def _environment(package: str) -> Dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    return dict(
        os.environ,
        PYTHONPATH=package + (os.pathsep + path if path else ""),
        # Some releases of ONNX Runtime (1.32 does) start an uploader of usage data when they are imported: nothing
        # leaves a device through the agent, and nothing runs beside a measurement.
        ORT_DISABLE_TELEMETRY="1",
        # The OpenBLAS in numpy makes threads as soon as it is imported, and where there is no memory for them it asks
        # for it for ever. A worker has no use for them.
        OPENBLAS_NUM_THREADS="1",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal {}".format(number)
