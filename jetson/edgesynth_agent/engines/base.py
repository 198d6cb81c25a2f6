"""The contract of an engine."""

from abc import ABC, abstractmethod
from typing import Any, Dict

__all__ = ["Engine"]


class Engine(ABC):
    """One network, loaded by one runtime.

    Constructed loaded; then `prepare`, then `run` as often as wanted, then `close`. `prepare` may be called again.
    Used from one thread. Whatever the runtime raises comes out as EngineError.
    """

    backend = ""
    """Name of the runtime, as the measurement record spells it."""

    version = ""
    """Version of the runtime."""

    precision = ""
    """What the network computes in: "fp32", "fp16" or "int8"."""

    processor = "cpu"
    """What computes: "cpu" or "gpu". Of a "gpu", the clock must not fall while it is measured."""

    flags: Dict[str, Any] = {}
    """The settings that a figure depends on; JSON values."""

    @abstractmethod
    def prepare(self, batch: int, seed: int) -> None:
        """Fill all inputs with normal noise from `seed`, `batch` of them, where `run` will read them.

        The same seed gives the same values on every machine. Raises EngineError when the network does not take that
        batch, or has an input whose shape or type leaves open what to feed it.
        """

    @abstractmethod
    def run(self) -> None:
        """One inference of the whole batch; returns when the outputs are complete. Raises EngineError."""

    @abstractmethod
    def outputs(self, inputs: Dict[str, Any]) -> Dict[str, Any]:
        """What the network answers to these inputs, one prepared batch of numpy arrays by name: arrays by name.

        Values are converted to the types of the network's inputs. `run` reads its noise again afterwards. Raises
        EngineError when names or shapes are not those of the prepared network.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the network. May be called twice; nothing else may be called after it."""
