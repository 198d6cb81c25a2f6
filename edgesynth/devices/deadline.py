"""A moment until which something may take, as an object to hand down."""

import time

__all__ = ["Deadline"]


class Deadline:
    """`after_s` seconds from its construction, on the monotonic clock."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self._end_s = time.monotonic() + after_s

    @property
    def remaining_s(self) -> float:
        """Seconds that are left; 0 when it has passed."""
        return max(0.0, self._end_s - time.monotonic())

    @property
    def expired(self) -> bool:
        return self.remaining_s == 0.0
