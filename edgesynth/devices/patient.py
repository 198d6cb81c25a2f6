"""A device that may go away for a while: a cable, a reboot, somebody else's lease."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from edgesynth.devices.deadline import Deadline
from edgesynth.devices.oracle import Oracle
from edgesynth.errors import DeviceError
from edgesynth.records import Measurement

__all__ = ["PatientOracle"]

RETRY_S = 2.0


class PatientOracle(Oracle):
    """The oracle that it is given, waited for: at most `wait_s` each time it is gone, 0 for not at all.

    What fails while the device is still there is the network's fault, and raised at once. Raises the last DeviceError
    when the time is over. Asked again then, it looks once whether the device has come back: were each network waited
    for anew, a device that is gone for good would hold up a run for as long as there are networks.
    """

    def __init__(
        self,
        inner: Oracle,
        wait_s: float,
        say: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.target = inner.target
        self.at_once = inner.at_once
        self._inner, self._wait_s = inner, wait_s
        self._say, self._sleep = say, sleep
        self._entered = ExitStack()
        self._there = False
        self._given_up = False

    def alive(self) -> bool:
        return self._there and self._inner.alive()

    def _hold(self) -> AbstractContextManager[None]:
        return self._waited_for()

    @contextmanager
    def _waited_for(self) -> Iterator[None]:
        self._given_up = False
        self._come_back()
        try:
            yield
        finally:
            self._leave()

    def _measure(self, onnx: Path, batch: int) -> Measurement:
        if self._there:
            try:
                return self._inner.measure(onnx, batch=batch)
            except DeviceError as error:
                # Left meanwhile, by an interrupt in another thread: whoever came back then would hold it for nobody.
                if self._held is None or self._inner.alive():
                    raise
                self._say(f"{error}; waiting for it, {self._wait_s:g} s at most")
                self._leave()
        self._come_back()
        return self._inner.measure(onnx, batch=batch)

    def _come_back(self) -> None:
        """Enter; raises the last DeviceError when that did not work in time."""
        deadline = Deadline(0.0 if self._given_up else self._wait_s)
        while True:
            try:
                self._entered.enter_context(self._inner)
            except DeviceError:
                if deadline.expired:
                    self._given_up = True
                    raise
                self._sleep(min(RETRY_S, deadline.remaining_s))
            else:
                self._there, self._given_up = True, False
                return

    def _leave(self) -> None:
        self._there = False
        # Leaving a device that is gone fails; there is nothing left to give back.
        stack, self._entered = self._entered, ExitStack()
        try:
            stack.close()
        except DeviceError as error:
            self._say(str(error))
