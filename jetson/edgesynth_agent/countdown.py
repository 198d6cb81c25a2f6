"""The time that a job may take: one limit while an engine is being built, another for all the rest."""

import threading
import time
from typing import Callable, Optional

__all__ = ["BUILDING", "Countdown"]

BUILDING = "building the engine"
"""The stage of a job whose time is its own."""


class Countdown:
    """Calls `on_end` once, from a thread of its own, when either of two times is used up; each only runs down while it
    is its turn, and that of work is first. Used from one thread."""

    def __init__(self, work_s: float, build_s: float, on_end: Callable[[], None]) -> None:
        self.building = False
        self._left_s = {False: work_s, True: build_s}
        self._on_end = on_end
        self._lock = threading.Lock()
        self._timer: Optional[threading.Timer] = None
        self._since_s = 0.0

    def begin(self) -> None:
        """From now on time runs down."""
        with self._lock:
            self._run()

    def turn(self, building: bool) -> None:
        """From now on it is the turn of building, or of work. Does nothing once a time is used up."""
        with self._lock:
            if self._timer is not None and building != self.building:
                self._pause()
                self.building = building
                self._run()

    def stop(self) -> None:
        """No time runs down any more."""
        with self._lock:
            self._pause()

    def _run(self) -> None:
        self._since_s = time.monotonic()
        self._timer = threading.Timer(max(0.0, self._left_s[self.building]), self._end)
        self._timer.daemon = True
        self._timer.start()

    def _pause(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left_s[self.building] -= time.monotonic() - self._since_s

    def _end(self) -> None:
        with self._lock:
            if self._timer is not threading.current_thread():
                return  # its turn ended a moment ago
            self._timer = None
        self._on_end()
