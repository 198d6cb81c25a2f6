"""Several boards of one kind, measuring side by side."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from edgesynth.devices.oracle import Oracle
from edgesynth.errors import DeviceError
from edgesynth.records import Measurement

__all__ = ["PoolOracle"]

STRIKES = 2
"""So many failures in a row that another board did not share, and a board is left out."""


class PoolOracle(Oracle):
    """Boards that answer for one target, each for one network at a time. All must be of that target.

    A network that fails on one board is tried on another. Where it fails there too it is to blame; where it does not,
    the first board is, and is left out after STRIKES in a row. With no board left there is no answer, and no network
    is lost: each has an answer or the reason why there is none. Raises DeviceError on entering when no board can be
    reached. Which board answers is not determined; `device` in the record names it.
    """

    def __init__(self, boards: Sequence[Oracle]) -> None:
        if len({board.target for board in boards}) != 1:
            raise ValueError("a pool is of one target")
        self.target = boards[0].target
        self._boards = list(boards)
        self.at_once = len(boards)
        self._there: list[Oracle] = []
        self._gone: list[str] = []

    def alive(self) -> bool:
        return any(board.alive() for board in self._there)

    def _hold(self) -> AbstractContextManager[None]:
        return self._all()

    @contextmanager
    def _all(self) -> Iterator[None]:
        self._there, self._gone = [], []
        with ExitStack() as stack:
            for board in self._boards:
                try:
                    stack.enter_context(board)
                except DeviceError as error:
                    self._gone.append(str(error))
                else:
                    self._there.append(board)
            if not self._there:
                raise DeviceError(f"no {self.target} answers: {'; '.join(self._gone)}")
            yield

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        return self._one_of_many(onnx, batch)

    def try_many(self, files: Sequence[Path], *, batch: int = 1) -> list[Measurement | DeviceError]:
        work = _Work(files, batch, len(self._there))
        threads = [threading.Thread(target=work.on, args=(board,), daemon=True) for board in self._there]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        work.raise_what_broke()
        for board, reason in work.left_out.items():
            self._there.remove(board)
            self._gone.append(reason)
        return work.answers(DeviceError(f"no {self.target} is left: {'; '.join(self._gone)}"))


class _Work:
    """Files to measure, taken by the boards as they become free."""

    def __init__(self, files: Sequence[Path], batch: int, boards: int) -> None:
        self._files, self._batch = files, batch
        self._boards = boards
        self._change = threading.Condition()
        self._waiting = deque(range(len(files)))
        self._busy = 0
        self._failed: dict[int, tuple[Oracle, DeviceError]] = {}
        self._answers: dict[int, Measurement | DeviceError] = {}
        self._strikes: dict[Oracle, int] = {}
        self._broken: list[BaseException] = []
        self.left_out: dict[Oracle, str] = {}

    def on(self, board: Oracle) -> None:
        """Measure on one board until there is nothing left for it."""
        try:
            while (index := self._next(board)) is not None:
                self._done(board, index, board._try(self._files[index], self._batch))
        except BaseException as error:  # a mistake in a thread must not end in a wait without end
            self._broken.append(error)
        finally:
            with self._change:
                self._boards -= 1
                self._change.notify_all()

    def answers(self, otherwise: DeviceError) -> list[Measurement | DeviceError]:
        """In the order of the files; for one that only failed on a board, that failure."""
        failed = {index: error for index, (_, error) in self._failed.items()}
        known = {**failed, **self._answers}
        return [known.get(index, otherwise) for index in range(len(self._files))]

    def raise_what_broke(self) -> None:
        if self._broken:
            raise self._broken[0]

    def _next(self, board: Oracle) -> int | None:
        """A file that this board has not failed on; waits while others may still hand one on."""
        with self._change:
            while not self._broken and board not in self.left_out:
                held_back = self._is_in_doubt(board)
                for index in self._waiting:
                    failed_on = self._failed.get(index, (None,))[0]
                    if failed_on is not board and not (held_back and failed_on is None):
                        self._waiting.remove(index)
                        self._busy += 1
                        return index
                if not self._busy and not held_back:
                    break
                self._change.wait(1.0)
            return None

    def _is_in_doubt(self, board: Oracle) -> bool:
        """Whether it has failed on so many files that others have yet to try: one that fails at once would otherwise
        have failed on all before anybody could tell."""
        own = sum(failed_on is board for failed_on, _ in self._failed.values())
        return self._boards > 1 and own >= STRIKES

    def _done(self, board: Oracle, index: int, answer: Measurement | DeviceError) -> None:
        with self._change:
            self._busy -= 1
            before = self._failed.pop(index, None)
            if not isinstance(answer, DeviceError):
                self._answers[index] = answer
                self._strikes[board] = 0
                if before is not None:
                    self._strike(*before)
            elif before is not None or self._boards == 1:
                # Failed twice, or nobody else is there to tell whom to blame.
                self._answers[index] = answer
            else:
                self._failed[index] = (board, answer)
                self._waiting.append(index)
            self._change.notify_all()

    def _strike(self, board: Oracle, error: DeviceError) -> None:
        self._strikes[board] = self._strikes.get(board, 0) + 1
        if self._strikes[board] >= STRIKES:
            self.left_out[board] = str(error)
