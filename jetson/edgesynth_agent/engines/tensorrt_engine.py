"""TensorRT behind the contract of an engine."""

from typing import Any, Dict, List

from edgesynth_agent.engines.base import Engine
from edgesynth_agent.engines.buffers import Buffers
from edgesynth_agent.engines.inputs import Tensor, given, noise
from edgesynth_agent.engines.tensorrt_session import Session
from edgesynth_agent.errors import EngineError

__all__ = ["TensorRtEngine"]


class TensorRtEngine(Engine):
    """Runs a plan, inputs and outputs resident in the device's memory; one inference is queued, then waited for.

    `plan` is what `check_plan` handed out: loading a plan is running code. `buffers` is closed with the engine, and
    when the constructor raises EngineError.
    """

    processor = "gpu"

    def __init__(self, trt: Any, plan: bytes, precision: str, flags: Dict[str, Any], buffers: Buffers) -> None:
        self.backend = trt.__name__
        self.version = trt.__version__
        self.precision = precision
        self._buffers = buffers
        self._feed: Dict[str, Any] = {}
        self._addresses: Dict[str, int] = {}
        self._outputs: List[Tensor] = []
        try:
            self._session = Session(trt, plan)
        except BaseException:
            buffers.close()
            raise
        self.flags = dict(flags, runs_by=self._session.runs_by)

    def prepare(self, batch: int, seed: int) -> None:
        self._feed = {}
        feed = noise(self._session.inputs, batch, seed)
        self._session.set_shapes({name: values.shape for name, values in feed.items()})
        self._outputs = self._session.outputs
        self._buffers.free()
        self._addresses = {name: self._buffers.allocate(values.nbytes) for name, values in feed.items()}
        self._addresses.update({each.name: self._buffers.allocate(_empty(each).nbytes) for each in self._outputs})
        self._session.set_addresses(self._addresses)
        self._feed = feed
        self._write(feed)
        self.run()

    def run(self) -> None:
        if not self._feed:
            raise EngineError("no inputs yet", "the engine", "call prepare before run")
        self._session.run(self._buffers.stream)
        self._buffers.synchronize()

    def outputs(self, inputs: Dict[str, Any]) -> Dict[str, Any]:
        self._write(given(self._feed, inputs))
        try:
            self.run()
            answers = {each.name: _empty(each) for each in self._outputs}
            for name, values in answers.items():
                self._buffers.read(self._addresses[name], values)
            return answers
        finally:
            self._write(self._feed)

    def close(self) -> None:
        self._feed = {}
        self._session.close()
        self._buffers.close()

    def _write(self, feed: Dict[str, Any]) -> None:
        for name, values in feed.items():
            self._buffers.write(self._addresses[name], values)


def _empty(tensor: Tensor) -> Any:
    """Room for an output. Raises EngineError where its size or type is nothing to have on this side."""
    import numpy

    where = "output '{}' of shape {}".format(tensor.name, list(tensor.shape))
    if min(tensor.shape, default=1) < 0:
        raise EngineError("its size depends on the values", where, "export the network with fixed sizes")
    try:
        return numpy.zeros(tensor.shape, dtype=tensor.dtype)
    except TypeError as error:
        raise EngineError("numpy has no " + tensor.dtype, where, "export it with outputs of float32") from error
