"""Processes on this machine.

Processes and pipes of our own rather than a pool of concurrent.futures: when a process of a pool dies, all its pending
items fail and none is to blame. Here it is known which item a process died over, and every process can be ended.
"""

import os
import pickle
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Self

import torch

from edgesynth.errors import StorageError, ToolError
from edgesynth.synthesis.executors.base import RETRIES, Executor, Failure, Item, Outcome, attempt, named

__all__ = ["Workers"]


@dataclass
class _Task:
    number: int
    item: Any
    deaths: int = 0


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    connection: Connection

    def end(self) -> int | None:
        """Kill it; its exit code, -N for signal N that it died of before."""
        self.process.join(timeout=0.2)  # one whose pipe has closed is about to have an exit code
        code = self.process.exitcode
        self.process.kill()
        self.process.join()
        self.connection.close()
        return code


class Workers(Executor):
    """So many processes, each with its share of torch's threads unless told otherwise.

    A function is written to a file once, however many maps it is used in (it must not change in between); its tensors
    are mapped into memory, which all processes share. A process that dies is replaced.
    """

    place = "machine"

    def __init__(self, number: int, threads: int | None = None) -> None:
        self.number = number
        self.threads = threads or max(1, torch.get_num_threads() // number)
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, _Task]] = {}
        self._function: object = None
        self._functions = 0

    def __enter__(self) -> Self:
        # Several processes at work are what spinning threads suffer from most (docs/decisions/0004).
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._folder = tempfile.TemporaryDirectory(prefix="edgesynth-")
        return self

    def __exit__(self, *_: object) -> None:
        self._end_busy()
        while self._idle:
            self._idle.pop().end()
        self._folder.cleanup()

    def map(self, function: Callable[[Item], Outcome], items: Iterable[Item]) -> Iterator[Outcome]:
        path = self._store(function)
        todo, again = (_Task(number, item) for number, item in enumerate(items)), deque[_Task]()
        known: dict[int, Any] = {}
        due = 0
        try:
            while True:
                while len(self._busy) < self.number:
                    task = again.popleft() if again else next(todo, None)
                    if task is None:
                        break
                    self._hand_out(path, task, again)
                if not self._busy:
                    return
                for connection in wait(list(self._busy)):
                    self._take_back(connection, known, again)  # type: ignore[arg-type]  # only these were waited for
                while due in known:
                    outcome = known.pop(due)
                    if isinstance(outcome, Failure):
                        raise outcome.error
                    due += 1
                    yield outcome
        finally:
            self._end_busy()

    def _store(self, function: object) -> Path:
        folder = Path(self._folder.name)
        if function is not self._function:
            (folder / str(self._functions)).unlink(missing_ok=True)
            self._functions += 1
            try:
                with (folder / str(self._functions)).open("wb") as file:
                    torch.save(function, file)
            except OSError as error:
                raise StorageError(f"cannot write to {folder}: {error.strerror}; free some space there") from error
            self._function = function
        return folder / str(self._functions)

    def _hand_out(self, path: Path, task: _Task, again: deque[_Task]) -> None:
        worker = self._idle.pop() if self._idle else _start()
        self._busy[worker.connection] = worker, task
        try:
            # Not by send(): torch teaches that to hand over open files, which a dead process has none of.
            worker.connection.send_bytes(pickle.dumps((str(path), task.item, self.threads)))
        except OSError:  # it died while it was idle
            self._bury(worker.connection, again)

    def _take_back(self, connection: Connection, known: dict[int, Any], again: deque[_Task]) -> None:
        try:
            outcome = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            self._bury(connection, again)
            return
        worker, task = self._busy.pop(connection)
        self._idle.append(worker)
        known[task.number] = outcome

    def _bury(self, connection: Connection, again: deque[_Task]) -> None:
        worker, task = self._busy.pop(connection)
        code = worker.end()
        task.deaths += 1
        if task.deaths > RETRIES:
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            raise ToolError(
                f"{named(task.item)}: the process that worked on it died {task.deaths} times, the last time of {how}; "
                "most often memory has run out: try fewer --workers"
            )
        again.append(task)

    def _end_busy(self) -> None:
        for worker, _ in self._busy.values():
            worker.end()
        self._busy.clear()


def _start() -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    # A daemon, so that Python ends it on its way out, whatever happens.
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _work(connection: Connection) -> None:
    """The life of a worker: one item after the other, until the pipe closes."""
    # Ctrl-C goes to all processes of a terminal; the main one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            path, item, threads = pickle.loads(connection.recv_bytes())
            connection.send_bytes(attempt(partial(_call, path), item, threads))


def _call(path: str, item: object) -> object:
    return _load(path)(item)


@lru_cache(maxsize=1)
def _load(path: str) -> Callable[[Any], Any]:
    function: Callable[[Any], Any] = torch.load(path, mmap=True, weights_only=False)
    return function


def _die_with_parent() -> None:
    """A parent that was killed cannot end its workers."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
