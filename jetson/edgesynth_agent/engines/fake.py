"""An engine for tests: takes the time it is told to take, on a fake clock."""

import itertools
from typing import Any, Dict, Sequence

from edgesynth_agent.clock import FakeClock
from edgesynth_agent.engines.base import Engine
from edgesynth_agent.engines.inputs import Tensor, given, noise
from edgesynth_agent.errors import EngineError

__all__ = ["FakeEngine"]

_INPUT = Tensor("x", [None, 4], "float32")


class FakeEngine(Engine):
    """Each `run` advances `clock` by the next of `latencies_s`; after the last it starts over.

    Its network takes batches up to `max_batch` of four numbers "x", and answers "y", the same times `factor`.
    """

    backend = "fake"
    version = "0"
    precision = "fp32"

    def __init__(
        self,
        clock: FakeClock,
        latencies_s: Sequence[float],
        max_batch: int = 16,
        processor: str = "cpu",
        factor: float = 2.0,
    ) -> None:
        self.flags = {"latencies": len(latencies_s)}
        self.processor = processor
        self._clock = clock
        self._latencies_s = itertools.cycle(latencies_s)
        self._max_batch = max_batch
        self._factor = factor
        self._feed: Dict[str, Any] = {}

    def prepare(self, batch: int, seed: int) -> None:
        if batch > self._max_batch:
            raise EngineError(
                "batch {} is too large".format(batch),
                "the fake network",
                "ask for {} at most".format(self._max_batch),
            )
        self._feed = noise([_INPUT], batch, seed)

    def run(self) -> None:
        if not self._feed:
            raise EngineError("no inputs yet", "the fake engine", "call prepare before run")
        self._clock.advance(next(self._latencies_s))

    def outputs(self, inputs: Dict[str, Any]) -> Dict[str, Any]:
        return {"y": given(self._feed, inputs)["x"] * self._factor}

    def close(self) -> None:
        self._feed = {}
